"""What a run is trusted with: storage credentials and the signing key. No printer or logger may look inside."""

from pipeline.storage import client as storage_client


class Environment:
    """Storage settings on their way to the workers. They hold secrets, so no printer or logger may look inside."""

    def __init__(self, variables: dict[str, str]) -> None:
        self._variables = variables

    def __repr__(self) -> str:
        return "Environment(hidden)"

    def use(self) -> None:
        """Take these settings in this process, before its first use of storage."""
        storage_client.configure(self._variables)


class Signing:
    """A signer: private key and certificate chain (PEM, the signer's own first), and the algorithm of the key.

    It holds a secret, so no printer or logger may look inside. It is no dataclass: Ray's export of events writes the
    fields of those into its log.
    """

    def __init__(self, key: bytes, chain: bytes, algorithm: str) -> None:
        self.key, self.chain, self.algorithm = key, chain, algorithm

    def __repr__(self) -> str:
        return "Signing(hidden)"
