"""OpenTelemetry's logging handler, with its batch processor and OTLP over HTTP."""

from __future__ import annotations

from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.instrumentation.logging.handler import LoggingHandler
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

from . import ROOMY, Opened, Target


def logs(target: Target) -> Opened:
    """Its queue holds 2,048 by default, and the oldest give way."""
    provider = LoggerProvider()
    exporter = OTLPLogExporter(f"{target.url}/v1/logs")
    options = {"max_queue_size": ROOMY} if target.is_enlarged else {}
    provider.add_log_record_processor(BatchLogRecordProcessor(exporter, **options))

    def finish(seconds: float) -> None:
        provider.force_flush(int(seconds * 1000))
        provider.shutdown()

    return Opened(LoggingHandler(logger_provider=provider), finish)
