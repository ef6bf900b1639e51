"""Side branches for torch networks: where to put them, training, export. Needs the torch extra.

`layers` sees where a network can be left, `branches` puts exits there, `nets` are ready-made networks, `train` trains
all exits together, `checkpoint` keeps how far that is, `export` writes one ONNX model with an output for every exit.
Nothing is imported here, so that asking for torch costs nothing until it is used.
"""

__all__: list[str] = []
