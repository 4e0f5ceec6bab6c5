"""Edit XMP packets as trees, so that properties of any namespace and in any notation survive.

ISO 16684-1 (XMP part 1), section 7: a packet is RDF/XML. A property may be an attribute or an element. A structure may
be an element with rdf:parseType="Resource", with an rdf:Description inside, or with attributes only.
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
    # This project's properties. It has no domain; a UUID is as unique (RFC 9562).
    "interlcm": "urn:uuid:6b1f3c52-0e0d-4a53-9d5e-3c9a1f0f7a41#",
}
DECLARED = " ".join(f'xmlns:{prefix}="{uri}"' for prefix, uri in NAMESPACES.items())

# A photo's packet has a few kB, or a few hundred with a long editing history. Its tree takes about 20 times as much.
MAX_BYTES = 8 << 20
MAX_DEPTH = 100
MAX_ELEMENTS = 200_000

HEAD = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
TAIL = '\n<?xpacket end="w"?>'
EMPTY = f'<x:xmpmeta xmlns:x="{NAMESPACES["x"]}"><rdf:RDF xmlns:rdf="{NAMESPACES["rdf"]}"/></x:xmpmeta>'.encode()

Element = minidom.Element
NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, section 2.2


class XmpError(Exception):
    """A packet is not XMP, or exceeds a bound: the reason in a few words."""


def escaped(value: object) -> str:
    """A value as XML text; characters that XML cannot hold (control characters in a file name) become U+FFFD."""
    return escape(NOT_XML.sub("\ufffd", str(value)), {'"': "&quot;", "\r": "&#13;"})


class Packet:
    """One packet. Names of properties and fields use the prefixes of NAMESPACES."""

    def __init__(self, data: bytes = EMPTY) -> None:
        """data: UTF-8 or UTF-16, with or without zero bytes around it. Raises XmpError."""
        if b"\0" not in data[:4]:  # UTF-16 has zero bytes inside
            data = data.strip(b"\0")
        _check(data)
        self.document = minidom.parseString(data)
        found = self.document.getElementsByTagNameNS(*_qualified("rdf:RDF"))
        if not found:
            raise XmpError("it has no rdf:RDF element")
        self.rdf = found[0]
        # New properties go into a separate rdf:Description of the same resource (section 7.4).
        about = next((value(node, "rdf:about") for node in children(self.rdf, "rdf:Description")), None)
        self.own = append(self.rdf, f'<rdf:Description rdf:about="{escaped(about or "")}"/>')

    def add(self, properties: str) -> None:
        """Add properties, given as XML with the prefixes of NAMESPACES."""
        append(self.own, properties)

    def property(self, name: str) -> Element | None:
        """The element of a property; None if the property is missing or is an attribute."""
        return next((node for one in children(self.rdf, "rdf:Description") for node in children(one, name)), None)

    def take(self, name: str) -> str | None:
        """Remove a property in every place and notation. Returns its value if that is a simple one."""
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
        """Give a property a simple value. Returns the previous value."""
        before = self.take(name)
        self.add(f"<{name}>{escaped(text)}</{name}>")
        return before

    def append(self, name: str, kind: str, items: list[str]) -> None:
        """Add items (`rdf:li` as XML) to an array property; create it as `kind`, rdf:Bag or rdf:Seq, if missing."""
        node = self.property(name)
        if node is None:
            self.take(name)  # an attribute cannot be an array
            self.add(f"<{name}><{kind}>{''.join(items)}</{kind}></{name}>")
        else:
            append_to_array(node, kind, items)

    def to_bytes(self) -> bytes:
        """UTF-8, wrapped as in section 7.3, without padding."""
        return HEAD.encode() + self.bare() + TAIL.encode()

    def bare(self) -> bytes:
        """UTF-8, without the wrapper."""
        root = self.document.documentElement
        body = root.toxml() if root is not None else ""
        if root is self.rdf:
            body = f'<x:xmpmeta xmlns:x="{NAMESPACES["x"]}">{body}</x:xmpmeta>'
        return body.encode()


def _check(data: bytes) -> None:
    """Parse a packet without building a tree, and stop at the first bound that it exceeds. Raises XmpError.

    XMP uses no document type, so refusing one loses nothing; a document type could expand entities or name files.
    """
    if len(data) > MAX_BYTES:
        raise XmpError(f"too long: {len(data)} bytes")
    depth = elements = 0

    def opened(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth, elements
        depth, elements = depth + 1, elements + 1
        if depth > MAX_DEPTH or elements > MAX_ELEMENTS:
            raise XmpError("too many elements, or nested too deep")

    def closed(name: str) -> None:
        nonlocal depth
        depth -= 1

    def doctype(*_: object) -> None:
        raise XmpError("it has a document type")

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
    if holder.hasAttributeNS(*_qualified(name)):
        return holder.getAttributeNS(*_qualified(name))
    child = next(children(holder, name), None)
    if child is None:
        return None
    if child.hasAttributeNS(*_qualified("rdf:resource")):
        return child.getAttributeNS(*_qualified("rdf:resource"))
    return "".join(node.data for node in child.childNodes if isinstance(node, minidom.Text)).strip()


def set_value(node: Element, name: str, text: object) -> None:
    """Set the value of a simple field, or add the field."""
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
    """Add items (`rdf:li` as XML) to the array in an element; create the array as `kind` if there is none."""
    arrays = [child for child in node.childNodes if isinstance(child, Element)]
    if not arrays:
        append(node, f"<{kind}>{''.join(added)}</{kind}>")
        return
    for item in added:
        append(arrays[0], item)
