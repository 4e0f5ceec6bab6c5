"""A number with its noun, for messages."""


def counted(number: int, noun: str) -> str:
    """'1 face', '2 faces'."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
