"""Bars in SVG, as few as a page needs."""

from collections.abc import Mapping
from html import escape


WIDTH, LABEL, ROW, BAR = 760, 250, 26, 16
COLORS = {"floor": "#7f7f7f", "Webdis": "#7f7f7f", "bare": "#7f7f7f"}
OURS = "#1f77b4"


def bars(title: str, values: Mapping[str, float], unit: str, limit: float | None = None) -> str:
    """Draw a bar for each value.

    :param title: what is shown
    :param values: how much by name
    :param unit: what it is counted in
    :param limit: what is to be kept; a dashed line
    """
    highest = max([*values.values(), limit or 0.0]) * 1.15
    height = 36 + ROW * len(values)

    def x(value: float) -> float:
        return LABEL + value / highest * (WIDTH - LABEL - 20)

    parts = []
    for number, (name, value) in enumerate(values.items()):
        y = 30 + ROW * number
        color = COLORS.get(name.split(" ", maxsplit=1)[0], OURS)
        parts += [
            f'<text x="{LABEL - 8}" y="{y + 13}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{LABEL}" y="{y}" width="{x(value) - LABEL:.1f}" height="{BAR}" fill="{color}"/>',
            f'<text x="{x(value) + 5:.1f}" y="{y + 13}">{value:.3g}{unit}</text>',
        ]
    if limit is not None:
        parts.append(f'<path d="M{x(limit):.1f} 26V{height - 6}" stroke="#d62728" stroke-dasharray="4 3"/>')
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
        f'font-size="12">\n<rect width="{WIDTH}" height="{height}" fill="#fff"/>\n'
        f'<text x="8" y="16" font-weight="bold">{escape(title)}</text>\n{body}\n</svg>\n'
    )
