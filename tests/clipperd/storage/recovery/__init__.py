"""Tests of backup, salvage and recovery of outbox.db."""
