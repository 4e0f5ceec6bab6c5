"""Times as people read them."""

from datetime import datetime, timedelta


def moment(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S} UTC"


def in_words(time: timedelta) -> str:
    """5 s, 12 min, 3 h 20 min or 4 d 7 h."""
    seconds = int(time.total_seconds())
    if seconds < 60:
        return f"{seconds} s"
    minutes = seconds // 60
    hours = minutes // 60
    if hours < 1:
        return f"{minutes} min"
    return f"{hours} h {minutes % 60} min" if hours < 24 else f"{hours // 24} d {hours % 24} h"
