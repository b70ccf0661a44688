"""Telling people and other systems that something waits. Nothing can be decided from a notification."""
