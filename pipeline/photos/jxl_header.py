"""The header of a JPEG XL codestream (ISO/IEC 18181-1, annex D): size, depth, channels and colours."""

from __future__ import annotations

from dataclasses import dataclass

CODESTREAM = b"\xff\x0a"
GREY, XYB, UNKNOWN = 1, 2, 3  # colour spaces; 0 is RGB
SRGB, P3 = "sRGB", "Display P3"
D65, CUSTOM = 1, 2
SRGB_PRIMARIES = 1
PRIMARIES = {SRGB_PRIMARIES: SRGB, 11: P3}
SRGB_CURVE = 13
# sRGB in numbers, as in a PNG's gAMA and cHRM chunks.
WHITE_POINT, RED_GREEN_BLUE, GAMMA = (0.3127, 0.329), (0.64, 0.33, 0.3, 0.6, 0.15, 0.06), 0.45455
ALPHA, SPOT, CFA = 0, 2, 5  # kinds of extra channels
RATIOS = (None, (1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))  # width to height


@dataclass
class JxlHeader:
    """width, height: px, before the picture is turned. bits: of a channel. alpha: whether the colours are multiplied by
    it; None: no alpha. colour: SRGB or P3. has_profile: whether an ICC profile replaces `colour`. problem: why the
    pixels cannot be decoded in their own colours.
    """

    width: int = 0
    height: int = 0
    bits: int = 8
    colours: int = 3
    alpha: bool | None = None
    colour: str = SRGB
    has_profile: bool = False
    problem: str | None = None


class _Bits:
    """A reader of bits, the lowest of each byte first."""

    def __init__(self, data: bytes) -> None:
        self.number, self.left = int.from_bytes(data, "little"), 8 * len(data)

    def u(self, count: int) -> int:
        if count > self.left:
            raise ValueError("the header is cut off")
        value = self.number & ((1 << count) - 1)
        self.number, self.left = self.number >> count, self.left - count
        return value

    def choice(self, *options: tuple[int, int]) -> int:
        """A number in one of four codings (offset, number of bits), which two bits select (U32)."""
        offset, count = options[self.u(2)]
        return offset + self.u(count)

    def enum(self) -> int:
        return self.choice((0, 0), (1, 0), (2, 4), (18, 6))


def jxl_header(stream: bytes) -> JxlHeader:
    """Read the header. Raises ValueError if it is cut off or not JPEG XL."""
    if not stream.startswith(CODESTREAM):
        raise ValueError("it has no picture")
    bits = _Bits(stream[2:4096])
    width, height = _size(bits)
    found = JxlHeader(width, height)
    if not bits.u(1):  # else everything has its default value
        _metadata(bits, found)
    return found


def _size(bits: _Bits) -> tuple[int, int]:
    small = bits.u(1)

    def side() -> int:
        return 8 * (1 + bits.u(5)) if small else bits.choice((1, 9), (1, 13), (1, 18), (1, 30))

    height = side()
    ratio = RATIOS[bits.u(3)]
    return (height * ratio[0] // ratio[1] if ratio else side()), height


def _metadata(bits: _Bits, found: JxlHeader) -> None:
    if bits.u(1):
        bits.u(3)  # orientation, which the decoder applies
        if bits.u(1):
            _size(bits)
        if bits.u(1):
            found.problem = "a preview"
            return
        if bits.u(1):
            _animation(bits)
    is_float, found.bits = _depth(bits)
    bits.u(1)
    extra = [_extra(bits) for _ in range(bits.choice((0, 0), (1, 0), (2, 4), (1, 12)))]
    found.alpha = next((associated for kind, associated in extra if kind == ALPHA), None)
    is_xyb = bool(bits.u(1))
    _colours(bits, found, is_xyb)
    if is_float:
        found.problem = "float samples"
    elif [kind for kind, _ in extra] not in ([], [ALPHA]):
        found.problem = "channels other than colours and alpha"


def _animation(bits: _Bits) -> None:
    bits.choice((100, 0), (1000, 0), (1, 10), (1, 30))
    bits.choice((1, 0), (1001, 0), (1, 8), (1, 10))
    bits.choice((0, 0), (0, 3), (0, 16), (0, 32))
    bits.u(1)


def _depth(bits: _Bits) -> tuple[bool, int]:
    if bits.u(1):
        depth = bits.choice((32, 0), (16, 0), (24, 0), (1, 6))
        bits.u(4)
        return True, depth
    return False, bits.choice((8, 0), (10, 0), (12, 0), (1, 6))


def _extra(bits: _Bits) -> tuple[int, bool]:
    """Kind of an extra channel, and whether the colours are multiplied by it."""
    if bits.u(1):
        return ALPHA, False
    kind = bits.enum()
    _depth(bits)
    bits.choice((0, 0), (3, 0), (4, 0), (1, 3))
    bits.u(8 * bits.choice((0, 0), (0, 4), (16, 5), (48, 10)))  # its name
    associated = bool(bits.u(1)) if kind == ALPHA else False
    if kind == SPOT:
        bits.u(64)
    if kind == CFA:
        bits.choice((1, 0), (0, 2), (3, 4), (19, 8))
    return kind, associated


def _colours(bits: _Bits, found: JxlHeader, is_xyb: bool) -> None:
    if bits.u(1):
        return
    found.has_profile, space = bool(bits.u(1)), bits.enum()
    found.colours = 1 if space == GREY else 3
    if found.has_profile:  # without a colour converter, libjxl returns values that do not match the profile
        found.problem = "an ICC profile, packed with loss," if is_xyb else None
        return
    if space in (XYB, UNKNOWN):
        found.problem = "unspecified colours"
        return
    found.problem = "colours other than sRGB and Display P3"
    white = bits.enum()
    if white == CUSTOM:
        white = D65 if _near(_points(bits, 1), WHITE_POINT) else CUSTOM
    primaries = SRGB_PRIMARIES if space == GREY else bits.enum()
    if primaries == CUSTOM:
        primaries = SRGB_PRIMARIES if _near(_points(bits, 3), RED_GREEN_BLUE) else CUSTOM
    if white != D65 or primaries not in PRIMARIES:
        return
    found.colour = PRIMARIES[primaries]
    curve_is_srgb = abs(bits.u(24) * 1e-7 - GAMMA) < 0.001 if bits.u(1) else bits.enum() == SRGB_CURVE
    found.problem = None if curve_is_srgb else found.problem


def _points(bits: _Bits, count: int) -> list[float]:
    """x and y of this many colours."""
    numbers = [bits.choice((0, 19), (524288, 19), (1048576, 20), (2097152, 21)) for _ in range(2 * count)]
    return [((n >> 1) ^ -(n & 1)) * 1e-6 for n in numbers]


def _near(points: list[float], expected: tuple[float, ...]) -> bool:
    """Whether coordinates agree to three digits, to which programs round them."""
    return all(abs(one - other) < 0.002 for one, other in zip(points, expected, strict=True))
