"""Edit XMP packets as trees, so that properties of any namespace and in any notation survive.

ISO 16684-1 (XMP part 1), section 7: a packet is RDF/XML. A property may be an attribute or an element. A structure may
be an element with rdf:parseType="Resource", with an rdf:Description inside, or with attributes only.
"""

from __future__ import annotations

from xml.dom import minidom
from xml.parsers import expat

from pipeline.provenance.rdf import (
    NAMESPACES,
    Element,
    append,
    append_to_array,
    children,
    escaped,
    qualified,
    value,
)

# A photo's packet has a few kB, or a few hundred with a long editing history. Its tree takes about 20 times as much.
MAX_BYTES = 8 << 20
MAX_DEPTH = 100
MAX_ELEMENTS = 200_000

HEAD = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
TAIL = '\n<?xpacket end="w"?>'
EMPTY = f'<x:xmpmeta xmlns:x="{NAMESPACES["x"]}"><rdf:RDF xmlns:rdf="{NAMESPACES["rdf"]}"/></x:xmpmeta>'.encode()


class XmpError(Exception):
    """A packet is not XMP, or exceeds a bound: the reason in a few words."""


class Packet:
    """One packet. Names of properties and fields use the prefixes of NAMESPACES."""

    def __init__(self, data: bytes = EMPTY) -> None:
        """data: UTF-8 or UTF-16, with or without zero bytes around it. Raises XmpError."""
        if b"\0" not in data[:4]:  # UTF-16 has zero bytes inside
            data = data.strip(b"\0")
        _check(data)
        self.document = minidom.parseString(data)
        found = self.document.getElementsByTagNameNS(*qualified("rdf:RDF"))
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
            if description.hasAttributeNS(*qualified(name)):
                description.removeAttributeNS(*qualified(name))
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
