"""`python -m service`: serve on HOST and PORT (see `settings`)."""

import logging
import os
import signal
import sys

import uvicorn

from .app import create_app
from .inference.errors import ParaframeError
from .keys import KeyFileError
from .settings import Settings, SettingsError


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logger = logging.getLogger("paraframe")
    try:
        settings = Settings.from_environment(os.environ)
        settings.check_exposure()
        app = create_app(settings)
    except (SettingsError, KeyFileError, ParaframeError) as error:
        logger.error("%s", error)  # noqa: TRY400 a message for a person, not a trace
        return 2
    if settings.keys_file is None:
        logger.info("no KEYS_FILE: everybody who reaches %s may use the service", settings.host)
    # uvicorn stops gracefully and then raises the signal again for whoever handled it before it: a stop is no failure.
    signal.signal(signal.SIGTERM, lambda *_: None)
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.port,
        timeout_graceful_shutdown=settings.stop_seconds,
        access_log=False,  # it would hold what clients ask for; /metrics counts requests
        server_header=False,
        log_config=None,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
