"""The application: composed here, and nothing happens at import."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from . import __version__
from .access import KeyBeforeBody, KnownHosts, check_routes
from .errors import add_handlers
from .feedback import FeedbackStore
from .host import ModelHost
from .inference.registry import Registry
from .keys import KeyFile
from .metrics import Metrics
from .middleware import BodyLimits, Observed
from .routes import router
from .scheduler import Scheduler
from .settings import Settings
from .work import Labeller


def create_app(settings: Settings) -> FastAPI:
    """The service for these settings, its model loaded. Raises ParaframeError if that fails."""
    metrics = Metrics()
    host = ModelHost(Registry(settings.models_dir), threads=settings.threads, metrics=metrics)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        scheduler = Scheduler(max_waiting_tokens=settings.max_waiting_tokens, metrics=metrics)
        app.state.scheduler = scheduler
        app.state.labeller = labeller = Labeller(scheduler, settings, metrics)
        scheduler.start()
        follower = asyncio.create_task(host.follow_pointer())
        try:
            yield
        finally:
            follower.cancel()
            await asyncio.wait({follower})
            labeller.stop()
            await asyncio.to_thread(scheduler.stop)

    app = FastAPI(
        title="Paraframe",
        version=__version__,
        summary="How a text frames what it tells: a label, a calibrated confidence and the sentences that carry it.",
        lifespan=lifespan,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        strict_content_type=True,
    )
    app.state.settings = settings
    app.state.host = host
    app.state.keys = keys = KeyFile(settings.keys_file) if settings.keys_file else None
    app.state.metrics = metrics
    app.state.feedback = FeedbackStore(settings.labels_dir)
    app.include_router(router)
    check_routes(app)
    add_handlers(app)
    app.add_middleware(BodyLimits, max_bytes=settings.max_body_bytes, seconds=settings.body_seconds)
    if keys is None:
        app.add_middleware(KnownHosts, hosts=settings.known_hosts)
    else:
        app.add_middleware(KeyBeforeBody, keys=keys)
    app.add_middleware(Observed, metrics=metrics)
    return app
