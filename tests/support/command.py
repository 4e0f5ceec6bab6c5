"""The interlcm command, called in this process."""

from __future__ import annotations

import pytest

from jobs.__main__ import main


class Interlcm:
    """Runs the command in this process; keeps the exit code and the output on stderr."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, *arguments: str) -> int:
        with pytest.raises(SystemExit) as stopped:
            main(list(arguments))
        self.out, self.err = self.capsys.readouterr()
        assert "Traceback" not in self.out + self.err
        return stopped.value.code if isinstance(stopped.value.code, int) else 0

    def line(self) -> str:
        """The one line on stderr."""
        (line,) = self.err.splitlines()
        assert line.startswith("interlcm: ")
        return line.removeprefix("interlcm: ")
