"""Names of fields and roles in recorded conversations: what the general reader goes by.

To read one more dialect of a known shape, add its words here.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

__all__ = [
    "ACT_TYPES",
    "AGENT_NAMED_KEYS",
    "AGENT_SIDE_KEYS",
    "ALTERNATING_KEYS",
    "CONVERSATION_ID_KEYS",
    "FINAL_KEYS",
    "LIST_KEYS",
    "MADE_OF_MESSAGES",
    "MEDIA_KEYS",
    "NAME_KEYS",
    "NESTING_KEYS",
    "ROLE_KEYS",
    "ROLE_OF_WORD",
    "STATED_ROLE_KEYS",
    "SYSTEM_KEYS",
    "TEXT_KEYS",
    "THOUGHT_TYPES",
    "TIME_KEYS",
    "TOOL_RESULT_TYPES",
    "USER_NAMED_KEYS",
    "USER_SIDE_KEYS",
    "Role",
    "keys",
]

Role = Literal["user", "agent", "persona", "tool"]
"""Role of a message. `persona` is instructions to the agent."""


def keys(text: str) -> tuple[str, ...]:
    """Return the names of fields in a text, in its order."""
    return tuple(text.split())


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _roles(**role_words: str) -> Mapping[str, Role]:
    names: tuple[Role, ...] = ("user", "agent", "persona", "tool")
    return MappingProxyType({word: role for role in names for word in role_words[role].split()})


ROLE_OF_WORD = _roles(
    user=(
        "user human prompter customer client person caller visitor guest enduser end_user "
        "end-user usr questioner seeker humanmessage humanmessagechunk usermessage "
        "user_message human_message 用户 人类 问"
    ),
    agent=(
        "assistant gpt model bot ai agent chatgpt chatbot chat_bot bing bard claude gemini llm "
        "machine robot gpt-3.5 gpt-4 gpt4 operator support advisor consultant supporter "
        "aimessage aimessagechunk assistantmessage assistant_message ai_message bot_message "
        "moss function_call tool_call 助手 机器人 答"
    ),
    persona="system developer instruction instructions systemmessage system_message 系统",
    tool=(
        "tool function observation ipython environment tool_result tool_response tool_results "
        "function_response function_result tool_output toolmessage functionmessage api remove"
    ),
)
"""Role by the word that names it, in lower case."""

ROLE_KEYS = keys(
    "role author.role message.role is_user isUser is_bot isBot author.isBot author.is_bot "
    "author.bot from.is_bot sender.is_bot sender.role sender.type from speaker sender "
    "sender_type senderType author_type author.type author type message_type participant "
    "party who source side user_type name author.name from.name user username nick"
)
"""Fields that may name a message's role, as dotted paths, the most telling first."""

STATED_ROLE_KEYS = ("role", "author.role", "sender_type", "from", "speaker", "sender")
"""Those in which an unknown word is an unknown role, not some other fact."""

NAME_KEYS = keys(
    "speaker from sender sender_name author author.name sender.name from.name name user.name "
    "username nick nickname user user_name display_name participant who agent from_id "
    "author.id author.type speaker_id user_id role"
)
"""Fields that may name a message's speaker: what `--agent` is compared with."""

TEXT_KEYS = keys(
    "content value text parts message mes body utterance msg response_text markdown "
    "transcript sentence refusal blocks"
)
"""Fields that may have a message's text, the usual ones first."""

MADE_OF_MESSAGES = ("messages", "conversations", "conversation", "contents", "dialogue", "dialog")
"""Fields that are a conversation by their name alone, so that an empty one is an error."""

LIST_KEYS = (
    *MADE_OF_MESSAGES,
    *keys(
        "items turns chat chat_history chat_messages history log logs utterances thread "
        "transcript visible internal data input inputs prompt chosen chosen_messages "
        "chosen_conversations"
    ),
)
"""Fields that may have a conversation's messages, the usual ones first."""

ALTERNATING_KEYS = keys(
    "data dialog dialogue dialogs utterances conversation conversations chat history"
)
"""Fields in which bare texts alternate between user and agent, the user first."""

NESTING_KEYS = keys(
    "inputs input request body data conversation chat dialogue session thread state values "
    "kwargs request.body"
)
"""Fields in which a conversation may be one level down, as dotted paths."""

FINAL_KEYS = keys(
    "completion chosen output outputs response responses ideal answer reply target expected "
    "expected_output reference_output reference_outputs generation choices candidates"
)
"""Fields that may have a last reply apart from the messages."""

SYSTEM_KEYS = keys(
    "system system_prompt systemPrompt system_message system_instruction systemInstruction "
    "instructions context"
)
"""Fields next to the messages that are instructions to the agent."""

CONVERSATION_ID_KEYS = keys(
    "conversationid convoid dialogueid dialogid threadid sessionid chatid convid "
    "messagetreeid conversationhash conversationuuid conversation convo dialogue ticketid "
    "caseid interactionid roomid callid channelid channel session thread sid"
)
"""Fields that separate the conversations of a file with one message per line, the most telling
first; in lower case, without `_`, `-` and blanks."""

TIME_KEYS = keys(
    "timestamp time created_at create_time createdAt created created_date date datetime "
    "send_date sent_at ts date_unixtime timestamp_ms timestampMs sentAt sent createTime "
    "creation_time createdDateTime created_time datetime_utc message_time send_time sendTime"
)
"""Fields that may have a message's time."""

USER_SIDE_KEYS = keys(
    "prompt query question instruction input user_text text_input input_text user_message "
    "user_input user_query human usr q"
)
"""Fields of one exchange that are the user's words."""

AGENT_SIDE_KEYS = keys(
    "response answer output completion chosen reply ideal bot_text output_text "
    "assistant_message assistant_response agent_response model_response bot_message "
    "bot_response bot_reply assistant gpt bot moss a"
)
"""Fields of one exchange that are the agent's words."""

USER_NAMED_KEYS = ("user", "human", "customer", "usr")
AGENT_NAMED_KEYS = ("assistant", "gpt", "bot", "agent", "model", "ai", "moss", "chatbot")
"""Fields of one exchange that are named for its speakers. Apart from each other they may be
something else: `user` an id, and `model` a model's name."""

MEDIA_KEYS = keys(
    "attachments embeds stickers photo file files media_type location_information poll "
    "contact_information"
)
"""Fields of a message that carry something other than text."""

THOUGHT_TYPES = _words("thinking redacted_thinking reasoning thought thoughts reasoning_recap")
"""Kinds of parts and messages that the user was never shown."""

ACT_TYPES = _words(
    "tool_use tool_call tool_calls function_call server_tool_use mcp_call computer_call "
    "web_search_call file_search_call code_interpreter_call local_shell_call custom_tool_call "
    "image_generation_call mcp_tool_use functioncall toolcall"
)
"""Kinds of parts and messages in which the agent acts without words."""

TOOL_RESULT_TYPES = _words(
    "tool_result function_call_output tool_call_output function_response functionresponse "
    "web_search_tool_result mcp_tool_result computer_call_output custom_tool_call_output "
    "code_execution_tool_result local_shell_call_output tool_response execution_output"
)
"""Kinds of parts and messages that a tool gave back."""
