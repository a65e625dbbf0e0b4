"""The application factory: where the parts meet."""

from flask import Flask

from api.application import Application
from api.errors import register_error_handlers
from api.openapi.document import register_documentation
from api.policy.access import register_access
from api.policy.browsers import register_cors, register_cross_site, register_security_headers
from api.policy.hosts import register_hosts
from api.policy.proxies import register_proxies
from api.policy.rate_limit import register_rate_limit
from api.settings import Settings
from api.startup import open_tokens
from api.telemetry.measured_store import MeasuredStore
from api.telemetry.metrics import Metrics
from api.telemetry.record import add_pool_wait, register_records
from api.telemetry.watches import WatchTotals
from models.store import Store
from models.valkey.connection import connect
from resources import health, keys, token
from resources.base import check_operation
from resources.errors import TooManyLists, TooManyWatchers
from resources.extensions import DELETE_ALL, LIST_LIMITER, METRICS, ON_TOLD, STORE, WATCH_LIMITER
from resources.held import register_held_bytes
from resources.parsing.path import KeyConverter, check_path
from resources.responses import Limiter


# Each holds one of its 64 threads, and others want some too.
GRANIAN_WATCHERS = 16


def create_app(settings: Settings, *, store: Store | None = None, metrics: Metrics | None = None) -> Flask:
    """Make the WSGI application.

    :param store: the store to use; by default that of ``settings.redis_url``
    :param metrics: where to send metrics; by default to ``settings.statsd_host``, if there is one
    """
    if metrics is None and settings.statsd_host is not None:
        metrics = Metrics(settings.statsd_host, settings.statsd_prefix)
    store = store or open_store(settings, measured=metrics is not None)
    tokens = open_tokens(settings.tokens_file)
    app = Application("flaskvstore", static_folder=None)
    app.config.update(MAX_CONTENT_LENGTH=settings.max_body_bytes, PROPAGATE_EXCEPTIONS=False)
    app.extensions[DELETE_ALL] = settings.delete_all
    app.extensions[METRICS] = metrics
    app.extensions[ON_TOLD] = (lambda *_: None) if metrics is None else WatchTotals(metrics).add
    app.extensions[STORE] = store
    app.extensions[LIST_LIMITER] = Limiter(settings.max_lists, TooManyLists)
    max_watchers = settings.max_watchers
    if settings.server == "granian":
        max_watchers = min(max_watchers, GRANIAN_WATCHERS)
    app.extensions[WATCH_LIMITER] = Limiter(max_watchers, TooManyWatchers)
    # A key may hold "//": no path is rewritten or redirected.
    app.url_map.merge_slashes = False
    app.url_map.converters["key"] = KeyConverter
    answers_all_hosts = tokens is not None or settings.open or settings.hosts == ("*",)
    register_hosts(app, None if answers_all_hosts else settings.hosts or ())
    if tokens is None and settings.cors_origins != ("*",):
        register_cross_site(app, settings.cors_origins or ())
    app.before_request(check_path)
    register_records(app, metrics)
    register_security_headers(app)
    register_held_bytes(app, max(settings.max_held_bytes, settings.max_body_bytes))
    register_error_handlers(app, unavailable_status=settings.unavailable_status)
    register_access(app, tokens)
    app.before_request(lambda: check_operation(app))
    if settings.rate_limit is not None:
        register_rate_limit(app, store, settings.rate_limit)
    if settings.cors_origins is not None:
        register_cors(app, settings.cors_origins)
    api = register_documentation(app, with_tokens=tokens is not None)
    api.add_namespace(keys.ns)
    api.add_namespace(token.ns)
    api.add_namespace(health.ns)
    if settings.trusted_proxies:
        register_proxies(app, settings.trusted_proxies)
    return app


def open_store(settings: Settings, *, measured: bool) -> Store:
    """Make the store that the settings describe; nothing is connected yet.

    :param measured: whether its operations are measured
    """
    client = connect(
        settings.redis_url or "",
        timeout_seconds=settings.store_timeout_seconds,
        max_connections=settings.store_connections,
        on_wait=add_pool_wait if measured else None,
    )
    kind = MeasuredStore if measured else Store
    return kind(client, key_prefix=settings.key_prefix, max_value_bytes=settings.max_value_bytes)
