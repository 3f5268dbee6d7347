"""The study engine: configuration, plan, identity, store, driver and workers."""
