"""The look of the page: light, dark and on paper. Any colour vision tells the colours apart (a test measures it)."""

from __future__ import annotations

LIGHT = {
    "head": "#1a44a5", "encode": "#74b1ff", "up": "#f09300", "queue": "#d5b8e3", "decode": "#af62c4",
    "tail": "#4d1d6b", "down": "#f3d279", "lost": "#d94c10", "local": "#03734b", "rest": "#a1a8ab",
}  # fmt: skip
DARK = {
    "head": "#2a61cc", "encode": "#acccfa", "up": "#fb961e", "queue": "#f7e4f7", "decode": "#c17de1",
    "tail": "#60238c", "down": "#f2d179", "lost": "#d7321b", "local": "#14bf81", "rest": "#5c6067",
}  # fmt: skip
"""One colour a cause: blues and green are the device, ambers the link, purples the server, red is time lost. Found by a
search within these hues for the greatest least distance between any two as seen by any of four kinds of eye."""

LIGHT_INK = {
    "ink": "#16191d", "soft": "#5b636b", "page": "#f6f7f8", "card": "#ffffff", "line": "#e3e6e9",
    "band": "#c63a1022", "hover": "#16191d12", "good": "#12735f", "bad": "#b3300a",
}  # fmt: skip
DARK_INK = {
    "ink": "#e9ecef", "soft": "#9aa4ae", "page": "#101316", "card": "#181c20", "line": "#2b3137",
    "band": "#e2572b30", "hover": "#ffffff1a", "good": "#3fc4a8", "bad": "#ff8a63",
}  # fmt: skip


def _variables(*tables: dict[str, str]) -> str:
    return "".join(f"--{name}:{colour};" for table in tables for name, colour in table.items())


_FILLS = "".join(f".f-{cause}{{fill:var(--{cause});background:var(--{cause})}}" for cause in LIGHT)
_RAN = {"device": "local", "split": "head", "server": "tail"}
"""Where a request ran borrows the colour of what takes most of its time there."""
_KINDS = "".join(
    f".p-{ran}{{fill:var(--{c});background:var(--{c})}}.l-{ran}{{stroke:var(--{c});background:var(--{c})}}"
    f".d-{ran}{{stroke:var(--{c});background:var(--{c})}}"
    for ran, c in _RAN.items()
)

STYLE = (
    f"""
:root{{color-scheme:light dark;{_variables(LIGHT, LIGHT_INK)}}}
@media (prefers-color-scheme:dark){{:root{{{_variables(DARK, DARK_INK)}}}}}
@media print{{:root{{color-scheme:light;{_variables(LIGHT, LIGHT_INK)}--page:#fff}}}}
{_FILLS}{_KINDS}
"""
    + """
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,
"Helvetica Neue",sans-serif;-webkit-print-color-adjust:exact;print-color-adjust:exact}
main{max-width:1100px;margin:0 auto;padding:28px 20px 40px}
h1{font-size:25px;line-height:1.25;margin:0 0 4px;letter-spacing:-.01em;overflow-wrap:anywhere}
h2{font-size:20px;margin:36px 0 6px;overflow-wrap:anywhere}
h3{font-size:15px;margin:0}
p{margin:0}
.soft,.about,.facts{color:var(--soft);overflow-wrap:anywhere}
.facts{font-size:13px}
.verdict{font-size:16px;margin:12px 0 18px;max-width:76ch}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(172px,1fr));gap:10px;margin:0 0 14px}
.tile,.card{background:var(--card);border:1px solid var(--line);border-radius:10px}
.tile{padding:11px 14px 10px}
.tile b{display:block;font-size:23px;line-height:1.25;font-weight:650;font-variant-numeric:tabular-nums}
.tile span{color:var(--soft);font-size:12.5px;display:block}
.good b{color:var(--good)}.bad b{color:var(--bad)}
.card{padding:16px 18px 12px;margin:0 0 14px;break-inside:avoid}
.about{font-size:13px;margin:1px 0 8px}
.pair{display:grid;grid-template-columns:1fr 1fr;gap:0 14px}
@media (max-width:800px){.pair{grid-template-columns:1fr}main{padding:18px 12px}.card{padding:14px 12px 10px}}
.scroll{overflow-x:auto}
.chart{display:block;width:100%;height:auto}
.wide .chart{min-width:760px}
.keys{display:flex;flex-wrap:wrap;gap:3px 16px;margin:6px 0 8px;padding:0;list-style:none;font-size:13px}
.keys li{display:flex;align-items:center;gap:6px;white-space:nowrap}
.keys i{width:12px;height:12px;border-radius:3px;flex:none}
.keys span{color:var(--soft);font-variant-numeric:tabular-nums}
.keys i.cross::before{content:"✕";color:var(--bad);font:700 12px/12px system-ui;display:block;margin-top:-2px}
.notes{color:var(--soft);font-size:12.5px;margin:6px 0 0;padding:0 0 0 16px}
.share{display:flex;height:14px;border-radius:4px;overflow:hidden;margin:2px 0 12px}
table{border-collapse:collapse;width:100%;font-size:13.5px;font-variant-numeric:tabular-nums}
th{font-weight:600;color:var(--soft);text-align:right;white-space:nowrap}
td{text-align:right;white-space:nowrap}
th,td{padding:5px 10px;border-bottom:1px solid var(--line)}
th:first-child,td:first-child{text-align:left;padding-left:0}
td.name{white-space:normal;overflow-wrap:anywhere;text-align:left;min-width:210px}
td i{display:inline-block;width:10px;height:10px;border-radius:3px;margin-right:7px}
tr:last-child td{border-bottom:0}
details{margin:8px 0 0;font-size:12.5px;color:var(--soft)}
summary{cursor:pointer;width:max-content}
details .scroll{max-height:320px;overflow:auto;margin-top:6px;border:1px solid var(--line);border-radius:6px}
details table{font-size:12px}details th{position:sticky;top:0;background:var(--card)}
details th:first-child,details td:first-child{padding-left:10px}
footer{color:var(--soft);font-size:12.5px;margin-top:22px}
svg text{font:12px system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",sans-serif;fill:var(--ink)}
svg .tick,svg .axis,svg .key{fill:var(--soft);font-variant-numeric:tabular-nums}
svg .strong{fill:var(--ink);font-weight:650}
svg .panel{font-weight:650;font-size:13px}
svg .empty{fill:var(--soft);font-size:14px;font-style:italic}
.grid{stroke:var(--line);stroke-width:1;shape-rendering:crispEdges}
.band{fill:var(--band)}
.hit{fill:transparent}.hit:hover{fill:var(--hover)}
.worst{fill:var(--soft);opacity:.3}
.beyond{fill:var(--bad)}
.l-true{fill:none;stroke:var(--soft);stroke-width:2.6}
.l-believed{fill:none;stroke:var(--up);stroke-width:2}
.l-measured{fill:none;stroke:var(--head);stroke-width:4;stroke-linecap:round;opacity:.45}
.probe{stroke:var(--local);stroke-width:1.5}
.asked{fill:none;stroke:var(--soft);stroke-width:1;opacity:.75}
.cross{fill:none;stroke:var(--bad);stroke-width:2}.halo{fill:none;stroke:var(--card);stroke-width:5}
.l-all{stroke:var(--ink);background:var(--ink);stroke-width:2.4}
.l-all,.l-device,.l-split,.l-server{fill:none}.l-device,.l-split,.l-server{stroke-width:1.6}
.d-device,.d-split,.d-server,.d-fell{fill:none;stroke-width:5.5;stroke-linecap:round;opacity:.62}
.d-fell{stroke:var(--bad);background:var(--bad)}
.tenth{fill:var(--hover)}.same{fill:none;stroke:var(--soft);stroke-dasharray:4 4}
@media print{body{font-size:12px}main{max-width:none;padding:0}details,.hit{display:none}.wide .chart{min-width:0}}
"""
)
