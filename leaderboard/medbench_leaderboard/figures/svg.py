"""From an SVG document to an element of an HTML page."""

from __future__ import annotations

import re
from collections.abc import Mapping

from markupsafe import Markup


def inline(document: str, name: str, replacements: Mapping[str, str]) -> Markup:
    """Turn an SVG document into an element for HTML.

    Parameters
    ----------
    document : str
        As matplotlib writes it.
    name : str
        Put before all ids, so that drawings on one page do not share them.
    replacements : mapping of str to str
        What to write instead of some texts: CSS variables for colours.
    """
    svg = document[document.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)
    opening = re.match(r"<svg[^>]*>", svg, flags=re.DOTALL)
    assert opening is not None
    box = re.search(r'viewBox="([^"]*)"', opening.group())
    assert box is not None
    body = svg[opening.end() :].replace("xlink:href", "href")
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', body))

    def own_id(match: re.Match[str]) -> str:
        return f' id="{name}-{match[1]}"' if match[1] in used else ""

    body = re.sub(r'\s+id="([^"]*)"', own_id, body)
    body = re.sub(r'(href="#|url\(#)([^")]+)', rf"\g<1>{name}-\g<2>", body)
    body = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", body)
    for stand_in, variable in replacements.items():
        body = body.replace(stand_in, variable)
    body = re.sub(r">\s+<", "><", body)
    _, _, width, height = box[1].split()
    # hidden from assistive technology: the element around it says it in words
    return Markup(
        f'<svg viewBox="{box[1]}" width="{width}" height="{height}" aria-hidden="true" '
        f'focusable="false">{body.strip()}'
    )
