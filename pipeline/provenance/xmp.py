"""XMP packets as trees to edit: what is in one survives, whatever its namespaces and however it is written.

ISO 16684-1 (XMP part 1), section 7: a packet is RDF/XML, in which a property may be an attribute or an element, a
structure an element with rdf:parseType="Resource", with an rdf:Description in it, or with attributes alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from xml.dom import Node, minidom
from xml.parsers import expat
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
    # Own properties. A project without a domain of its own takes none: a UUID is as unique (RFC 9562).
    "interlcm": "urn:uuid:6b1f3c52-0e0d-4a53-9d5e-3c9a1f0f7a41#",
}
DECLARED = " ".join(f'xmlns:{prefix}="{uri}"' for prefix, uri in NAMESPACES.items())

# Packets of photos have some kB, with an editor's long history some hundred. A tree takes about 20 times as much.
MAX_BYTES = 8 << 20
MAX_DEPTH = 100
MAX_ELEMENTS = 200_000

HEAD = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
TAIL = '\n<?xpacket end="w"?>'
EMPTY = f'<x:xmpmeta xmlns:x="{NAMESPACES["x"]}"><rdf:RDF xmlns:rdf="{NAMESPACES["rdf"]}"/></x:xmpmeta>'.encode()

Element = minidom.Element
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, section 2.2


class XmpError(Exception):
    """A packet that is no XMP, or not to be trusted: why, in a few words."""


def escaped(value: object) -> str:
    """A value as XML text; what XML cannot hold (a control character in a file name) becomes U+FFFD."""
    return escape(_NOT_XML.sub("\ufffd", str(value)), {'"': "&quot;", "\r": "&#13;"})


class Packet:
    """One packet. Names of properties and fields are given with the prefixes of NAMESPACES."""

    def __init__(self, data: bytes = EMPTY) -> None:
        """UTF-8 or UTF-16, with or without zeros around. Raises XmpError."""
        if b"\0" not in data[:4]:  # UTF-16 has them inside
            data = data.strip(b"\0")
        _check(data)
        self.document = minidom.parseString(data)
        found = self.document.getElementsByTagNameNS(*_qualified("rdf:RDF"))
        if not found:
            raise XmpError("no rdf:RDF in it")
        self.rdf = found[0]
        # Further properties go into a description of their own, of the same resource as the others (section 7.4).
        about = next((value(node, "rdf:about") for node in children(self.rdf, "rdf:Description")), None)
        self.own = append(self.rdf, f'<rdf:Description rdf:about="{escaped(about or "")}"/>')

    def add(self, properties: str) -> None:
        """Properties as XML, with the prefixes of NAMESPACES."""
        append(self.own, properties)

    def property(self, name: str) -> Element | None:
        """The element of a property; None where there is none, or it is an attribute."""
        return next((node for one in children(self.rdf, "rdf:Description") for node in children(one, name)), None)

    def take(self, name: str) -> str | None:
        """Remove a property, wherever and however it is written; its value when it is a simple one."""
        found = None
        for description in children(self.rdf, "rdf:Description"):
            text = value(description, name)
            found = found if text is None else text
            if description.hasAttributeNS(*_qualified(name)):
                description.removeAttributeNS(*_qualified(name))
            for node in list(children(description, name)):
                description.removeChild(node)
        return found

    def replace(self, name: str, text: object) -> str | None:
        """Give a property a simple value; the value before."""
        before = self.take(name)
        self.add(f"<{name}>{escaped(text)}</{name}>")
        return before

    def append(self, name: str, kind: str, items: list[str]) -> None:
        """Add items (`rdf:li` as XML) to an array property, `kind` rdf:Bag or rdf:Seq, that may be there already."""
        node = self.property(name)
        if node is None:
            self.take(name)  # an attribute of this name is no array
            self.add(f"<{name}><{kind}>{''.join(items)}</{kind}></{name}>")
        else:
            append_to_array(node, kind, items)

    def to_bytes(self) -> bytes:
        """UTF-8, wrapped as section 7.3 has it, without padding."""
        return HEAD.encode() + self.bare() + TAIL.encode()

    def bare(self) -> bytes:
        """UTF-8 without the wrapping."""
        root = self.document.documentElement
        body = root.toxml() if root is not None else ""
        if root is self.rdf:
            body = f'<x:xmpmeta xmlns:x="{NAMESPACES["x"]}">{body}</x:xmpmeta>'
        return body.encode()


def _check(data: bytes) -> None:
    """Read a packet through without keeping anything, and stop where it gets out of hand. Raises XmpError.

    XMP has no document type, so nothing is lost with those that could expand entities or name files.
    """
    if len(data) > MAX_BYTES:
        raise XmpError(f"{len(data)} bytes")
    depth = elements = 0

    def opened(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth, elements
        depth, elements = depth + 1, elements + 1
        if depth > MAX_DEPTH or elements > MAX_ELEMENTS:
            raise XmpError("too many elements, or too deep")

    def closed(name: str) -> None:
        nonlocal depth
        depth -= 1

    def doctype(*_: object) -> None:
        raise XmpError("a document type")

    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartElementHandler, parser.EndElementHandler = opened, closed
    parser.StartDoctypeDeclHandler = doctype
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise XmpError(f"not well-formed: {error}") from error


def _qualified(name: str) -> tuple[str, str]:
    prefix, _, local = name.partition(":")
    return NAMESPACES[prefix], local


def _is(node: Element, name: str) -> bool:
    return (node.namespaceURI, node.localName) == _qualified(name)


def children(node: Element, name: str) -> Iterator[Element]:
    """The child elements of this name."""
    for child in list(node.childNodes):
        if isinstance(child, Element) and _is(child, name):
            yield child


def append(node: Element, xml: str) -> Element:
    """Add XML, with the prefixes of NAMESPACES, below an element; its first element."""
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
    """Declare the prefixes that are used in an element: on the root, or here where they mean other things there."""
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
    """What a prefix means in an element."""
    around: Node | None = node
    while isinstance(around, Element):
        if around.hasAttribute(f"xmlns:{prefix}"):
            return around.getAttribute(f"xmlns:{prefix}")
        around = around.parentNode
    return None


def structure(node: Element) -> Element:
    """The element that has a structure's fields: an rdf:Description in it, or the element itself."""
    return next(children(node, "rdf:Description"), node)


def field(node: Element, name: str) -> Element | None:
    """A field of a structure, as an element."""
    return next(children(structure(node), name), None)


def value(node: Element, name: str) -> str | None:
    """A simple field or property: an attribute, the text of an element or the URI that it refers to; else None."""
    holder = structure(node)
    if holder.hasAttributeNS(*_qualified(name)):
        return holder.getAttributeNS(*_qualified(name))
    child = next(children(holder, name), None)
    if child is None:
        return None
    if child.hasAttributeNS(*_qualified("rdf:resource")):
        return child.getAttributeNS(*_qualified("rdf:resource"))
    return "".join(node.data for node in child.childNodes if isinstance(node, minidom.Text)).strip()


def set_value(node: Element, name: str, text: object) -> None:
    """Give a simple field another value, or add it."""
    holder = structure(node)
    attribute = holder.getAttributeNodeNS(*_qualified(name))
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
    """Add items (`rdf:li` as XML) to the array in an element; one of its own where there is none."""
    arrays = [child for child in node.childNodes if isinstance(child, Element)]
    if not arrays:
        append(node, f"<{kind}>{''.join(added)}</{kind}>")
        return
    for item in added:
        append(arrays[0], item)
