"""The stages of the method: what each depends on, what is done, and how it runs on workers."""
