"""The elements of RDF/XML in which XMP keeps properties, whatever their notation: fields, arrays and structures."""

from __future__ import annotations

import re
from collections.abc import Iterator
from xml.dom import Node, minidom
from xml.sax.saxutils import escape

NAMESPACES = {
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "x": "adobe:ns:meta/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "xmpMM": "http://ns.adobe.com/xap/1.0/mm/",
    "xmpNote": "http://ns.adobe.com/xmp/note/",
    "stEvt": "http://ns.adobe.com/xap/1.0/sType/ResourceEvent#",
    "stDim": "http://ns.adobe.com/xap/1.0/sType/Dimensions#",
    "stArea": "http://ns.adobe.com/xmp/sType/Area#",
    "mwg-rs": "http://www.metadataworkinggroup.com/schemas/regions/",
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "MP": "http://ns.microsoft.com/photo/1.2/",
    "MPRI": "http://ns.microsoft.com/photo/1.2/t/RegionInfo#",
    "MPReg": "http://ns.microsoft.com/photo/1.2/t/Region#",
    "dcterms": "http://purl.org/dc/terms/",
    "exif": "http://ns.adobe.com/exif/1.0/",
    "tiff": "http://ns.adobe.com/tiff/1.0/",
    # This project's properties. It has no domain; a UUID is as unique (RFC 9562).
    "interlcm": "urn:uuid:6b1f3c52-0e0d-4a53-9d5e-3c9a1f0f7a41#",
}
DECLARED = " ".join(f'xmlns:{prefix}="{uri}"' for prefix, uri in NAMESPACES.items())

Element = minidom.Element
NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, section 2.2


def escaped(value: object) -> str:
    """A value as XML text; characters that XML cannot hold (control characters in a file name) become U+FFFD."""
    return escape(NOT_XML.sub("\ufffd", str(value)), {'"': "&quot;", "\r": "&#13;"})


def qualified(name: str) -> tuple[str, str]:
    prefix, _, local = name.partition(":")
    return NAMESPACES[prefix], local


def _is(node: Element, name: str) -> bool:
    return (node.namespaceURI, node.localName) == qualified(name)


def children(node: Element, name: str) -> Iterator[Element]:
    """The child elements with this name."""
    for child in list(node.childNodes):
        if isinstance(child, Element) and _is(child, name):
            yield child


def append(node: Element, xml: str) -> Element:
    """Add XML, with the prefixes of NAMESPACES, below an element. Returns the first element added."""
    added = minidom.parseString(f"<r {DECLARED}>{xml}</r>").documentElement
    assert added is not None and node.ownerDocument is not None
    first: Element | None = None
    for child in list(added.childNodes):
        copy = node.ownerDocument.importNode(child, True)
        node.appendChild(copy)
        if isinstance(copy, Element):
            _declare(copy)
            first = first or copy
    assert first is not None
    return first


def _declare(node: Element) -> None:
    """Declare the prefixes that an element uses: on the root, or on the element if the root binds them differently."""
    names = [name for one in [node, *node.getElementsByTagName("*")] for name in (one.tagName, *one.attributes.keys())]
    for prefix in sorted({name.partition(":")[0] for name in names if ":" in name} - {"xml"}):
        declared = _declaration(node, prefix)
        if declared != NAMESPACES[prefix]:
            place = node if declared is not None else _root(node)
            place.setAttributeNS("http://www.w3.org/2000/xmlns/", f"xmlns:{prefix}", NAMESPACES[prefix])


def _root(node: Element) -> Element:
    while isinstance(node.parentNode, Element):
        node = node.parentNode
    return node


def _declaration(node: Element, prefix: str) -> str | None:
    """The namespace of a prefix in an element; None if it is not declared."""
    around: Node | None = node
    while isinstance(around, Element):
        if around.hasAttribute(f"xmlns:{prefix}"):
            return around.getAttribute(f"xmlns:{prefix}")
        around = around.parentNode
    return None


def structure(node: Element) -> Element:
    """The element that holds a structure's fields: an rdf:Description inside it, or the element itself."""
    return next(children(node, "rdf:Description"), node)


def field(node: Element, name: str) -> Element | None:
    """A field of a structure, as an element."""
    return next(children(structure(node), name), None)


def value(node: Element, name: str) -> str | None:
    """A simple field or property: an attribute, the text of an element, or the URI it refers to; None if missing."""
    holder = structure(node)
    if holder.hasAttributeNS(*qualified(name)):
        return holder.getAttributeNS(*qualified(name))
    child = next(children(holder, name), None)
    if child is None:
        return None
    if child.hasAttributeNS(*qualified("rdf:resource")):
        return child.getAttributeNS(*qualified("rdf:resource"))
    return "".join(node.data for node in child.childNodes if isinstance(node, minidom.Text)).strip()


def set_value(node: Element, name: str, text: object) -> None:
    """Set the value of a simple field, or add the field."""
    holder = structure(node)
    attribute = holder.getAttributeNodeNS(*qualified(name))
    if attribute is not None:
        attribute.value = str(text)
        return
    for child in list(children(holder, name)):
        holder.removeChild(child)
    append(holder, f"<{name}>{escaped(text)}</{name}>")


def items(node: Element | None) -> list[Element]:
    """The items of an array."""
    arrays = [] if node is None else [child for child in node.childNodes if isinstance(child, Element)]
    return [item for array in arrays for item in children(array, "rdf:li")]


def append_to_array(node: Element, kind: str, added: list[str]) -> None:
    """Add items (`rdf:li` as XML) to the array in an element; create the array as `kind` if there is none."""
    arrays = [child for child in node.childNodes if isinstance(child, Element)]
    if not arrays:
        append(node, f"<{kind}>{''.join(added)}</{kind}>")
        return
    for item in added:
        append(arrays[0], item)
