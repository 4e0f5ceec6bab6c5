"""The secrets of a run: storage credentials and the signing key. They must not be printed or logged."""

from pipeline.storage import client as storage_client


class Environment:
    """Storage settings for the workers. They hold secrets, so `repr` hides them."""

    def __init__(self, variables: dict[str, str]) -> None:
        self._variables = variables

    def __repr__(self) -> str:
        return "Environment(hidden)"

    def use(self) -> None:
        """Use these settings in this process; call this before its first use of storage."""
        storage_client.configure(self._variables)


class Signing:
    """A signer: private key, certificate chain (PEM, the signer's own first) and the key's algorithm.

    It holds a secret, so `repr` hides it. It is not a dataclass, because Ray's event export logs the fields of
    dataclasses.
    """

    def __init__(self, key: bytes, chain: bytes, algorithm: str) -> None:
        self.key, self.chain, self.algorithm = key, chain, algorithm

    def __repr__(self) -> str:
        return "Signing(hidden)"
