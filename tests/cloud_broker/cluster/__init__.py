"""Tests of cloud_broker/cluster/."""
