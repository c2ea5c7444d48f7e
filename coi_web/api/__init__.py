"""The REST API under ``/api/v1/``: whatever a page can do, the API can do, through the same services."""
