"""The names of attributes: OpenTelemetry's semantic conventions where there is one, ours otherwise."""

from __future__ import annotations

# HTTP and general (stable).
ERROR_TYPE = "error.type"
REQUEST_METHOD = "http.request.method"
RESPONSE_STATUS = "http.response.status_code"
ROUTE = "http.route"
SERVER_ADDRESS = "server.address"
SERVER_PORT = "server.port"
URL_FULL = "url.full"
URL_PATH = "url.path"
USER_HASH = "enduser.pseudo.id"

# Databases (stable).
DB_OPERATION = "db.operation.name"
DB_SYSTEM = "db.system.name"

# GenAI (in development).
AGENT_NAME = "gen_ai.agent.name"
CONVERSATION = "gen_ai.conversation.id"
FINISH_REASONS = "gen_ai.response.finish_reasons"
INPUT_TOKENS = "gen_ai.usage.input_tokens"
OPERATION = "gen_ai.operation.name"
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
PROVIDER = "gen_ai.provider.name"
REQUEST_MODEL = "gen_ai.request.model"
TOKEN_TYPE = "gen_ai.token.type"
TOOL_NAME = "gen_ai.tool.name"
TOOL_TYPE = "gen_ai.tool.type"

# Ours.
RUN_BYTES = "copilot_runtime.run.bytes"
RUN_EVENTS = "copilot_runtime.run.events"
RUN_ID = "copilot_runtime.run.id"
RUN_OUTCOME = "copilot_runtime.run.outcome"
RUNTIME_ROUTE = "copilot_runtime.route"
SUGGESTION = "copilot_runtime.run.suggestion"
