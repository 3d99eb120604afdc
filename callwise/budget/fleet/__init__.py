"""Sharing between the budgeters of several processes, through Redis.

RabbitMQ and home-made brokers are not used: processes share amounts and answers, not work. A
call is sent by the process that asks it, which alone can stream, cancel and replay its answer,
so there is no queue between processes to build.
"""

__all__: list[str] = []
