"""A test issuer of ID tokens: what Google and Apple are to the platform, on your own machine."""
