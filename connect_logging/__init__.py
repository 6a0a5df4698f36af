"""Log records as analytics events that are never lost and never counted twice."""
