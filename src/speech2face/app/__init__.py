"""The service: portraits over HTTP, live sound over a WebSocket, and the page that uses both."""
