"""The command ``cloud-broker``, a module for each verb."""
