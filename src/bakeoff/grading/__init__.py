"""Is it right: answers found in text and judged, labels counted, code run against its tests."""
