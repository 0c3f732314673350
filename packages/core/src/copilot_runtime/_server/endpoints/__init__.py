"""The endpoints: coroutine functions from an `EndpointContext` to a `Response`."""
