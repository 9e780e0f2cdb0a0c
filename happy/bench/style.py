"""The style sheet of reports, light and dark."""

from __future__ import annotations

from happy.bench.svg import COLOURS

_LINES = "".join(
    f".c{number} {{ color: var(--c{number}); }} .c{number} polyline {{ stroke: var(--c{number}); }}\n"
    f".c{number} circle {{ fill: var(--c{number}); }}\n"
    for number in range(COLOURS)
)
STYLE = f"""
:root {{
  color-scheme: light dark; --ink: #1b1f24; --faint: #6e7781; --line: #dde1e6; --page: #fff;
  --c0: #0969c8; --c1: #c2550a; --c2: #1a7f4b; --c3: #8347c9; --c4: #b3261e; --c5: #6b7280;
}}
@media (prefers-color-scheme: dark) {{
  :root {{
    --ink: #e6e9ed; --faint: #8b949e; --line: #30363d; --page: #14171b;
    --c0: #58a6ff; --c1: #f0883e; --c2: #3fb968; --c3: #bc8cff; --c4: #ff7b72; --c5: #a0a7b0;
  }}
}}
body {{
  font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--page);
  max-width: 900px; margin: 2rem auto; padding: 0 1rem;
}}
h1 {{ font-size: 1.5rem; margin-bottom: 0; }}
h2 {{ font-size: 1.05rem; margin: 1.8rem 0 .4rem; }}
p.facts {{ color: var(--faint); margin: .2rem 0; }}
table {{ border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }}
th, td {{ text-align: right; padding: .25rem .6rem; border-bottom: 1px solid var(--line); }}
th {{ color: var(--faint); font-weight: normal; }}
th:first-child, td:first-child {{ text-align: left; padding-left: 0; }}
.good {{ color: var(--c2); }}
.bad {{ color: var(--c4); font-weight: 600; }}
svg {{ width: 100%; height: auto; }}
svg line {{ stroke: var(--line); }}
svg text {{ fill: var(--faint); font-size: 11px; }}
svg .left {{ text-anchor: end; }}
svg .below {{ text-anchor: middle; }}
polyline {{ fill: none; stroke-width: 1.6; stroke-linejoin: round; }}
.legend {{ list-style: none; display: flex; flex-wrap: wrap; gap: 1.2rem; padding: 0; margin: 0; }}
.legend li::before {{
  content: ""; display: inline-block; width: .7rem; height: .2rem; margin-right: .4rem;
  vertical-align: middle; background: currentColor;
}}
{_LINES}"""
