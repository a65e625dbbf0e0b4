# Varnish before flaskvstore, at the root of a host and below /kv. Debian: /etc/varnish/default.vcl
vcl 4.1;

backend default {
    .host = "127.0.0.1";
    .port = "5000";
    # A count or a deletion of many keys sends nothing until it is done.
    .first_byte_timeout = 300s;
    .between_bytes_timeout = 300s;
}

sub vcl_recv {
    # FLASKVSTORE_TRUSTED_PROXIES=1; Varnish adds X-Forwarded-For itself.
    unset req.http.X-Forwarded-Prefix;
    if (req.url ~ "^/kv/") {
        set req.http.X-Forwarded-Prefix = "/kv";
        set req.url = regsub(req.url, "^/kv", "");
    }
    # Varnish makes the ETag of what it compresses weak, and a weak one never matches.
    if (req.http.If-Match) {
        set req.http.If-Match = regsuball(req.http.If-Match, "W/", "");
    }
    # Varnish would hold a whole list in memory, and end a chunked body that breaks off as if it were complete.
    if (req.http.Transfer-Encoding || (req.method == "GET" && req.url ~ "^/keys(\?|$)")) {
        return (pipe);
    }
    # Every answer is to be asked for again, so nothing is gained by keeping it; and HEAD stays HEAD.
    return (pass);
}

sub vcl_pipe {
    # The next request has to pass through vcl_recv again.
    set bereq.http.Connection = "close";
}

sub vcl_backend_fetch {
    # A write is never sent twice.
    set bereq.http.Connection = "close";
}

sub vcl_backend_response {
    if (beresp.http.Content-Type ~ "json") {
        set beresp.do_gzip = true;
    }
}
