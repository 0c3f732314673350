"""`BuiltInAgent` from outside: through the runtime's servers, against model servers on real sockets."""
