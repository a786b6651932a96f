//! Small programs for the tests. They need nothing but the stack's own Python, so a push takes a
//! second; the manual's shop has a real dependency.

/// Answers every request with this text, its environment and its process id.
pub fn web(text: &str) -> Vec<(&'static str, String)> {
    let program = format!(
        r#"import http.server, os, signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
class Page(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = ("{text} " + os.environ.get("GREETING", "") + " " + os.uname().nodename + "\n").encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *words): print("request", self.path, flush=True)
print("listening", flush=True)
http.server.ThreadingHTTPServer(("", int(os.environ["PORT"])), Page).serve_forever()
"#
    );
    vec![("web.py", program), ("Procfile", "web: python3 -u web.py\n".to_owned())]
}

/// The same with `&str`, as `Work::commit` takes them.
pub fn files<'a>(owned: &'a [(&'static str, String)]) -> Vec<(&'static str, &'a str)> {
    owned.iter().map(|(name, text)| (*name, text.as_str())).collect()
}
