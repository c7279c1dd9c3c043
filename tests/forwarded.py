"""Headers by which proxies, balancers and delivery networks betray that a request came through them."""

FORWARDED = [
    *("Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Port"),
    *("X-Forwarded-Server", "X-Forwarded-Client-Cert", "X-Forwarded", "Forwarded-For", "X-Forwarded-By"),
    *("X-Real-IP", "X-Client-IP", "Client-IP", "X-Cluster-Client-IP", "True-Client-IP", "X-Original-Forwarded-For"),
    *("X-Originating-IP", "X-Remote-IP", "X-Remote-Addr", "X-ProxyUser-Ip", "WL-Proxy-Client-IP", "Proxy-Client-IP"),
    *("CF-Connecting-IP", "CF-Connecting-IPv6", "CF-Ray", "CF-Visitor", "CF-IPCountry", "CDN-Loop", "Fastly-Client-IP"),
    *("Fastly-FF", "Fly-Client-IP", "Fly-Forwarded-Port", "X-Envoy-External-Address", "X-Envoy-Attempt-Count"),
    *("X-Amzn-Trace-Id", "X-Amz-Cf-Id", "X-Azure-ClientIP", "X-Appengine-User-IP", "X-Cloud-Trace-Context"),
    *("X-Vercel-Forwarded-For", "X-NF-Client-Connection-IP", "Akamai-Origin-Hop", "X-Akamai-Edgescape", "X-Varnish"),
    *("X-Scheme", "X-Original-URI", "X-Proxied-By", "Front-End-Https", "Ssl-Client-Cert", "X-Nobody-Knows-This-One"),
]
