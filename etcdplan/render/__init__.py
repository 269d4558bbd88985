"""From documents, states, errors and events to text. Pure: nothing here reads, writes or asks for the time."""
