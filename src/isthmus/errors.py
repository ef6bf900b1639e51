"""Everything that can go wrong, as one tree. Foreign errors are translated once, at the seam where they enter.

    IsthmusError                 1   anything of ours
    ├── BadInput                 2   an argument, a number, a file that says nonsense
    │   ├── BadModel             3   not a model we can take: corrupt, too large, custom operators, control flow
    │   ├── BadBundle            4   a deployed folder that is not what its manifest says
    │   └── BadFrame             2   bytes on the wire that lie about themselves
    ├── NoPlan                   5   nothing meets the limits (names the nearest miss and the way out)
    ├── Missing                  6   an optional package, a data folder or a privilege is absent
    ├── Busy                    10   too much is waiting already; nothing was begun
    └── Remote                   7   the other machine
        ├── Refused              7   it answered "no": wrong model, version, cut, tensor
        │   └── Full             7   it has its clients already, or is closing: to be asked again later
        ├── Unreachable          8   it did not answer at all
        └── Late                 9   it did not answer in time

The number is the exit code of the command line.
"""

from __future__ import annotations


class IsthmusError(Exception):
    """Anything isthmus raises on purpose. The message is one sentence: the number, the nearest miss, the way out."""

    exit_code = 1


class BadInput(IsthmusError):
    """An argument, a number or a file that cannot be meant."""

    exit_code = 2


class BadModel(BadInput):
    """A model that is corrupt, too large, or uses what cannot be cut (custom operators, control flow)."""

    exit_code = 3


class BadBundle(BadInput):
    """A bundle whose files are not what its manifest says."""

    exit_code = 4


class BadFrame(BadInput):
    """Bytes from the wire that do not hold what they announce."""


class NoPlan(IsthmusError):
    """No plan meets the limits; the message names the nearest miss and the way out."""

    exit_code = 5


class Missing(IsthmusError):
    """Something optional is absent: an extra, a data folder, a privilege."""

    exit_code = 6


class Busy(IsthmusError):
    """Too much is waiting already: this request was not taken."""

    exit_code = 10


class Remote(IsthmusError):
    """The other machine did not give what was asked."""

    exit_code = 7


class Refused(Remote):
    """The other machine answered "no"."""


class Full(Refused):
    """The other machine has no room for one more client, or is closing: it may take him later."""


class Unreachable(Remote):
    """The other machine did not answer at all."""

    exit_code = 8


class Late(Remote):
    """The other machine did not answer before the deadline."""

    exit_code = 9
