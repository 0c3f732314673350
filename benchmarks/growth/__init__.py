"""What a unit of work costs as its surroundings grow: history, threads, streams, tools, and sizes of messages."""
