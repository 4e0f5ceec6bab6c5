"""The IIIF export in OpenSeadragon, from a web server that knows nothing but files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support.wait import WebDriverWait

from pipeline.export.iiif_files import write_iiif
from tests.support.decided_run import write_decided_run
from tests.support.file_server import FileServer, serve

LIBRARY = Path(__file__).parent / "openseadragon" / "openseadragon.min.js"
# Both pictures of the choice beside each other, with the faces' annotations as frames, all of it from the manifest.
VIEWER = """<!doctype html><meta charset="utf-8"><title>viewer</title>
<style>body { margin: 0 } #view { width: 1200px; height: 400px } .face { outline: 3px solid #f80 }</style>
<div id="view"></div><script src="openseadragon.min.js"></script><script>
const address = new URLSearchParams(location.search).get("manifest");
(async () => {
  const top = await (await fetch(address)).json();
  const branch = await (await fetch(top.items[0].id)).json();
  const manifest = await (await fetch(branch.items.at(-1).id)).json();
  const canvas = manifest.items[0], pictures = canvas.items[0].items[0].body.items;
  const viewer = window.viewer = OpenSeadragon({
    id: "view", drawer: "canvas", showNavigationControl: false, collectionMode: true, collectionRows: 1,
    tileSources: pictures.map((picture) => picture.service[0].id + "/info.json"),
  });
  viewer.addHandler("open", () => {
    const shown = viewer.world.getItemAt(0);
    for (const face of canvas.annotations[0].items) {
      const [x, y, w, h] = face.target.split("#xywh=")[1].split(",").map(Number);
      const element = Object.assign(document.createElement("div"), { className: "face", title: face.body.value });
      viewer.addOverlay({ element, location: shown.imageToViewportRectangle(x, y, w, h) });
    }
  });
})();
</script>"""
# Mean and standard deviation of the red of a picture's middle, as it is painted.
PAINTED = """
const item = viewer.world.getItemAt(arguments[0]), bounds = item.getBounds();
const at = viewer.viewport.viewportToViewerElementRectangle(bounds), canvas = viewer.drawer.canvas;
const scale = canvas.width / viewer.container.clientWidth;
const middle = [at.x + at.width / 4, at.y + at.height / 4, at.width / 2, at.height / 2];
const inside = middle.map((n) => Math.round(n * scale));
const data = canvas.getContext("2d").getImageData(...inside).data.filter((_, n) => n % 4 === 0);
const mean = data.reduce((sum, value) => sum + value, 0) / data.length;
return [mean, Math.sqrt(data.reduce((sum, value) => sum + (value - mean) ** 2, 0) / data.length)];
"""


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serve() as server:
        yield server


def test_a_viewer_paints_both_pictures_and_frames_the_faces(
    server: FileServer, chromium: WebDriver, tmp_path: Path, artefacts: Path
) -> None:
    folder = tmp_path / "iiif"
    list(write_iiif(write_decided_run(tmp_path), str(folder), f"{server.url}/iiif"))
    files = {f"/iiif/{path.relative_to(folder)}": path for path in folder.rglob("*") if path.is_file()}
    server.files |= {name: path.read_bytes() for name, path in files.items()}
    server.files |= {"/openseadragon.min.js": LIBRARY.read_bytes(), "/favicon.ico": b""}
    page = f"/viewer.html?manifest={server.url}/iiif/collection.json"
    server.files[page] = VIEWER.encode()
    chromium.get_log("browser")  # type: ignore[attr-defined]
    chromium.set_window_size(1240, 480)
    chromium.get(f"{server.url}{page}")
    until(chromium, "return !!window.viewer && viewer.world.getItemCount() === 2")
    until(chromium, "return [0, 1].every((n) => viewer.world.getItemAt(n).getFullyLoaded())")
    until(chromium, "return document.querySelectorAll('.face').length === 2")
    painted = [chromium.execute_script(PAINTED, n) for n in (0, 1)]
    chromium.save_screenshot(str(artefacts / "iiif-openseadragon.png"))
    for mean, spread in painted:
        assert 20 < mean < 235 and spread > 20
    assert painted[0][1] < painted[1][1]  # the restored one of this run is smoother
    assert any("/after/" in one and "/default.jpg" in one for one in server.requests)
    log = chromium.get_log("browser")  # type: ignore[attr-defined]
    said = [entry for entry in log if "getImageData" not in entry["message"]]  # this test asks for pixels
    assert said == []


def until(driver: WebDriver, script: str) -> Any:
    return WebDriverWait(driver, 60).until(lambda one: one.execute_script(script), message=script)
