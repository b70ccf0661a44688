from pathlib import Path

from imprimatur import Imprimatur

gate = Imprimatur()  # IMPRIMATUR_URL, IMPRIMATUR_KEY, IMPRIMATUR_DELEGATION, IMPRIMATUR_TRUST


@gate.tool
def delete_file(path: str) -> None:
    Path(path).unlink()
