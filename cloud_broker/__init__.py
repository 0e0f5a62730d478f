"""cloud_broker: the small cloud service that alone holds the Notion tokens."""

__version__ = "0.1.0"
