"""XMP in two parts, as a JPEG stores it: one segment holds at most 64 KiB (XMP part 3, section 1.1.3.1)."""

from __future__ import annotations

from hashlib import md5
from xml.dom import minidom

from pipeline.provenance.rdf import NAMESPACES, Element, children
from pipeline.provenance.xmp import Packet

# Most bytes of the first part. A segment has 65,533, of which XMP's signature takes 29.
MAIN_BYTES = 65_502
NOTE = "xmpNote:HasExtendedXMP"
RESERVE = 200  # bytes of the note with the declaration of its prefix
XMLNS = "http://www.w3.org/2000/xmlns/"


def merged(main: Packet, extended: bytes) -> Packet:
    """The packet with the properties of its second part added. Raises XmpError if that part is not XMP."""
    other = Packet(extended)
    for node in properties(other):
        main.own.appendChild(self_contained(node, main))
    for _, attribute in short_properties(other):
        copy_attribute(attribute, main.own)
    return main


def in_two_parts(packet: bytes) -> tuple[bytes, bytes | None]:
    """Split a packet for a JPEG: the whole packet, or the packet without its longest properties and these as a second.

    The first part can stay longer than MAIN_BYTES if something other than a property is long, such as a comment.
    """
    if len(packet) <= MAIN_BYTES:
        return packet, None
    main, rest = Packet(packet), Packet()
    size = len(packet) + RESERVE
    for node in sorted(properties(main), key=lambda one: len(one.toxml()), reverse=True):
        if size <= MAIN_BYTES:
            break
        size -= len(node.toxml().encode())
        parent = node.parentNode
        moved = self_contained(node, rest)
        assert parent is not None
        parent.removeChild(node)
        rest.own.appendChild(moved)
    for description, attribute in short_properties(main) if size > MAIN_BYTES else ():
        copy_attribute(attribute, rest.own)
        description.removeAttributeNode(attribute)
    second = rest.bare()
    main.replace(NOTE, md5(second, usedforsecurity=False).hexdigest().upper())
    return main.to_bytes(), second


def properties(packet: Packet) -> list[Element]:
    """The properties written as elements."""
    descriptions = children(packet.rdf, "rdf:Description")
    return [node for one in descriptions for node in one.childNodes if isinstance(node, Element)]


def short_properties(packet: Packet) -> list[tuple[Element, minidom.Attr]]:
    """The properties written as attributes, each with its element."""
    return [
        (one, attribute)
        for one in children(packet.rdf, "rdf:Description")
        for attribute in one.attributes.values()
        if attribute.namespaceURI not in (XMLNS, NAMESPACES["rdf"], None)
    ]


def copy_attribute(attribute: minidom.Attr, node: Element) -> None:
    declare(node, attribute.prefix, attribute.namespaceURI)
    node.setAttributeNS(attribute.namespaceURI, attribute.name, attribute.value)


def self_contained(node: Element, packet: Packet) -> Element:
    """A copy of the node for another packet; it declares each prefix that it uses."""
    copy = packet.document.importNode(node, True)
    assert isinstance(copy, Element)
    for one in [node, *node.getElementsByTagName("*")]:
        for named in (one, *one.attributes.values()):
            if named.prefix not in (None, "xml", "xmlns"):
                declare(copy, named.prefix, named.namespaceURI)
    return copy


def declare(node: Element, prefix: str | None, uri: str | None) -> None:
    if prefix and uri and not node.hasAttribute(f"xmlns:{prefix}"):
        node.setAttributeNS(XMLNS, f"xmlns:{prefix}", uri)
