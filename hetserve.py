"""The front door of hetserve as a library."""
