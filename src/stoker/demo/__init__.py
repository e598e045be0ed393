"""The demo: real inputs and local servers, so that every standard task runs without a network."""
