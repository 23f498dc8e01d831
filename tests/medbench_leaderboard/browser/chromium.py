"""A real Chromium, driven through its debugging protocol."""

from __future__ import annotations

import base64
import json
import shutil
import time
from pathlib import Path
from typing import Any

AXE = Path(__file__).parent / "node_modules" / "axe-core" / "axe.min.js"

#: How to get what is missing; shown where the group is left out.
SETUP = (
    "apt-get install chromium chromium-driver; "
    "npm install --prefix tests/medbench_leaderboard/browser --no-package-lock --ignore-scripts"
)


def missing() -> list[str]:
    """What the browser tests need and this machine lacks."""
    programs = ["chromium", "chromedriver"]
    found = [name for name in programs if shutil.which(name) is None]
    return found if AXE.is_file() else [*found, "axe-core"]


class Chromium:
    """One window of a fresh profile; nothing it says or asks for is lost."""

    def __init__(self, profile: Path) -> None:
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service

        options = webdriver.ChromeOptions()
        options.binary_location = str(shutil.which("chromium"))
        for argument in (
            "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--hide-scrollbars", "--force-device-scale-factor=1", f"--user-data-dir={profile}",
        ):  # fmt: skip
            options.add_argument(argument)
        downloads = profile / "downloads"
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        service = Service(executable_path=str(shutil.which("chromedriver")))
        self.driver = webdriver.Chrome(options=options, service=service)
        self.downloads = downloads
        self.cdp("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(downloads))
        self.requests: list[str] = []

    def quit(self) -> None:
        self.driver.quit()

    def cdp(self, command: str, **values: Any) -> Any:
        return self.driver.execute_cdp_cmd(command, values)

    def emulate(
        self, width: int = 1280, height: int = 900, *, scheme: str = "light", media: str = ""
    ) -> None:
        """Set the size of the window and what the page's media queries see."""
        self.cdp(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
            mobile=width < 500,
        )  # fmt: skip
        features = [
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": "reduce"},  # a click waits for no scrolling
        ]
        self.cdp("Emulation.setEmulatedMedia", media=media, features=features)

    def scripts(self, on: bool) -> None:
        self.cdp("Emulation.setScriptExecutionDisabled", value=not on)

    def open(self, page: Path, fragment: str = "") -> None:
        """Open a page from nothing; what was said, asked for and saved before is forgotten."""
        self.driver.get("about:blank")
        for old in self.downloads.glob("*"):
            old.unlink(missing_ok=True)
        self.complaints()
        self.network()
        self.driver.get(page.as_uri() + fragment)
        # get() may return before the page's scripts have run
        until = time.monotonic() + 30
        while self._state() != "complete" and time.monotonic() < until:
            time.sleep(0.02)

    def _state(self) -> str:
        """Return how far the page is loaded, also where scripts are off."""
        found = self.cdp("Runtime.evaluate", expression="document.readyState")
        return str(found["result"].get("value"))

    def complaints(self) -> list[str]:
        """What the console said since the last call."""
        return [str(entry["message"]) for entry in self.driver.get_log("browser")]

    def network(self) -> list[str]:
        """The addresses asked for since the last call."""
        events = [json.loads(e["message"])["message"] for e in self.driver.get_log("performance")]
        return [
            event["params"]["request"]["url"]
            for event in events
            if event["method"] == "Network.requestWillBeSent"
        ]

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def axe(self) -> list[dict[str, Any]]:
        """Findings of axe-core on the page as it is now."""
        # evaluated by the debugger, which the page's Content-Security-Policy does not bind
        self.cdp("Runtime.evaluate", expression=AXE.read_text("utf-8") + ";0")
        result = self.cdp(
            "Runtime.evaluate",
            expression="axe.run(document, {resultTypes: ['violations']})"
            ".then((found) => JSON.stringify(found.violations))",
            awaitPromise=True,
        )
        return list(json.loads(result["result"]["value"]))

    def screenshot(self, path: Path, *, whole: bool = True) -> None:
        values = {"captureBeyondViewport": whole}
        if whole:
            size = self.cdp("Page.getLayoutMetrics")["cssContentSize"]
            sides = {side: size[side] for side in ("width", "height")}
            values["clip"] = {"x": 0, "y": 0, "scale": 1, **sides}
        path.write_bytes(base64.b64decode(self.cdp("Page.captureScreenshot", **values)["data"]))

    def pdf(self, path: Path) -> None:
        found = self.cdp("Page.printToPDF", printBackground=True)
        path.write_bytes(base64.b64decode(found["data"]))

    def downloaded(self, seconds: float = 10) -> str:
        """Wait for one download and return its text."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            # a download under way has another ending, is hidden, or is still empty
            done = [
                path
                for path in self.downloads.glob("[!.]*")
                if path.suffix not in (".crdownload", ".tmp") and path.stat().st_size
            ]
            if done:
                text = done[0].read_text("utf-8")
                done[0].unlink()
                return text
            time.sleep(0.1)
        raise AssertionError("nothing was downloaded")
