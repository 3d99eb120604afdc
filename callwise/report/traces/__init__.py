"""Traces of a run: spans for OpenTelemetry's collectors, and a file for trace viewers."""

from callwise.report.traces.otlp import SpanExporter
from callwise.report.traces.trace_file import write_trace_file
from callwise.report.traces.turn_traces import Traces, TurnTraces

__all__ = ["SpanExporter", "Traces", "TurnTraces", "write_trace_file"]
