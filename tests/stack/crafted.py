"""Requests by which a tenant might try to see another's series, as bytes on a socket.

other: the namespace that is not the tenant's; at: the time asked about, in seconds. A request says whether it
would work on a Prometheus without a door: `bites`. Those that would not are here for what the door's two
programs might make of them.
"""
import collections
import urllib.parse

Request = collections.namedtuple("Request", "name raw bites")
FORM = "application/x-www-form-urlencoded"


def raw(method, target, body="", version="1.1", **headers):
    """headers: _ stands for -; one with the value None is left out."""
    lines = {"Host": "prometheus", "Connection": "close"} | {k.replace("_", "-"): v for k, v in headers.items()}
    if body and "Transfer-Encoding" not in lines:
        lines.setdefault("Content-Length", len(body.encode()))
    head = "".join(f"{k}: {v}\r\n" for k, v in lines.items() if v is not None)
    return f"{method} {target} HTTP/{version}\r\n{head}\r\n{body}".encode()


def form(**fields):
    return urllib.parse.urlencode({k.replace("match", "match[]"): v for k, v in fields.items()}, doseq=True)


def multipart(**fields):
    """A body of type multipart/form-data, with its header."""
    parts = "".join(f'--x\r\nContent-Disposition: form-data; name="{k.replace("match", "match[]")}"\r\n\r\n{v}\r\n'
                    for k, v in fields.items())
    return {"body": parts + "--x--\r\n", "Content_Type": "multipart/form-data; boundary=x"}


def expressions(other):
    """PromQL that asks for, counts or tells apart what is another's; all of them bite."""
    there = f'namespace="{other}"'
    return [
        "up", '{__name__=~".+"}', f"{{{there}}}", f"up{{{there}}}", f"up{{ {there} , }}", f"up{{namespace='{other}'}}",
        f"up{{namespace=`{other}`}}", f'up{{namespace="\\x{ord(other[0]):x}{other[1:]}"}}',
        f'{{__name__="up",{there}}}', '{namespace=~".+"}', '{namespace=~".*",__name__=~".+"}',
        f'{{namespace=~"nobody|{other}"}}', '{namespace!="kubeflow-user01",pod!=""}',
        '{namespace!~"kubeflow-user01",job=~".+"}',
        '{namespace!="",namespace!="kubeflow-user01"}', '{user_id="user02"}', '{user_id!="user01",job="ridged"}',
        '{__name__=~"secret.*"}', "ALERTS", "model_info",
        f"up{{{there}}} or up", f"up or up{{{there}}}", "up or on() vector(1)",
        'up unless up{namespace="kubeflow-user01"}',
        f"vector(1) and on() up{{{there}}}", f"vector(1) unless on() up{{{there}}}",
        f'up{{namespace="kubeflow-user01"}} + on() group_left count(up{{{there}}})',
        f'up{{namespace="kubeflow-user01"}} > bool on() group_left count(up{{{there}}})',
        f"absent(up{{{there}}})", f"absent_over_time(up{{{there}}}[10s])", f"present_over_time(up{{{there}}}[10s])",
        "count(up)", 'count({__name__=~".+"})', 'count by (__name__, namespace) ({__name__=~".+"})',
        "sum(model_prediction_total)", "sum without (namespace) (model_prediction_total)", "group by (pod) (up)",
        "topk(100, up)", "bottomk(100, up)", 'count_values("v", model_prediction_total)', "scalar(count(up))",
        "vector(scalar(sum(model_prediction_total)))", "quantile(0.9, model_prediction_total)",
        "max_over_time(count(up)[10s:1s])", f"max_over_time(up{{{there}}}[10s:1s] offset 1s)",
        "rate(model_prediction_total[10s])", f"last_over_time({{{there}}}[10s])", "timestamp(up)", "-up", "(((up)))",
        "up offset 1s", f"up{{{there}}} @ end()", 'label_join(up, "x", "-", "namespace", "pod")',
        'label_replace(up, "namespace", "kubeflow-user01", "namespace", ".*")',
        "sort_desc(model_prediction_total)", "predict_linear(model_prediction_total[10s], 3600)",
        "histogram_quantile(0.9, sum by (le, namespace) (rate(model_prediction_latency_bucket[10s])))",
        "clamp_max(up, 0)", "up == up", "up @ start() offset -1s", "up\nor up\n", f"up{{{there}}} # comment",
        'up # {namespace="kubeflow-user01"}',
    ]


def queries(other, at):
    """The expressions by every way that one can be asked."""
    for expr in expressions(other):
        for path, asked in (("query", form(query=expr, time=at)),
                            ("query_range", form(query=expr, start=at - 2, end=at, step=1))):
            yield Request(f"GET {path} {expr}", raw("GET", f"/api/v1/{path}?{asked}"), True)
            yield Request(f"POST {path} {expr}", raw("POST", f"/api/v1/{path}", asked, Content_Type=FORM), True)
    for expr in ('up{namespace="kubeflow-user01",namespace="%s"}' % other, '{"namespace"="%s"}' % other, "up}) or ({",
                 'up"} or up{x="', "info(up)", "up{namespace=}", "1+1", "", "\x00"):
        yield Request(f"GET query {expr!r}", raw("GET", "/api/v1/query?" + form(query=expr, time=at)), False)


def listings(other, at):
    """What series, labels and their values there are."""
    there = f'{{namespace="{other}"}}'
    times = {"start": at - 5, "end": at}
    for match in ([], ["up"], [there], ['{namespace=~".+"}'], ['{__name__=~".+"}'], ["up", there], [there, there],
                  ['{namespace!="kubeflow-user01",job="ridged"}', "model_info"], ['{user_id="user02"}'],
                  ['{job=~".*",namespace=~".+"}']):
        asked = form(match=match, **times)
        for path in ("series", "labels", "label/namespace/values", "label/pod/values", "label/__name__/values",
                     "label/instance/values"):
            # There are no series without a selector, and of "up" there is one name.
            bites = path != "labels" and (path, match) not in (("series", []), ("label/__name__/values", ["up"]))
            yield Request(f"GET {path} {match}", raw("GET", f"/api/v1/{path}?{asked}"), bites)
            if path in ("series", "labels"):
                yield Request(f"POST {path} {match}", raw("POST", f"/api/v1/{path}", asked, Content_Type=FORM), bites)


def disguises(other, at):
    """One harmless and one harmful question, told apart by one program perhaps and not by the other."""
    there = f'{{namespace="{other}"}}'
    harmless, harmful = form(query="1", time=at), form(query=there, time=at)
    query, values = "/api/v1/query", "/api/v1/label/pod/values"
    quoted = urllib.parse.quote(there)
    own, theirs = form(match="up{namespace=\"kubeflow-user01\"}"), form(match=there)
    bodies = {"multipart": multipart(match=there, query=there, time=at),
              "multipart, quoted boundary": multipart(match=there, query=there, time=at)
              | {"Content_Type": 'Multipart/Form-Data; boundary="x"'},
              "form": {"body": f"{harmful}&{theirs}", "Content_Type": FORM},
              "form, odd type": {"body": f"{harmful}&{theirs}", "Content_Type": FORM.upper() + " ;charset=x"},
              "text": {"body": f"{harmful}&{theirs}", "Content_Type": "text/plain"},
              "JSON": {"body": '{"query":"up"}', "Content_Type": "application/json"},
              "no type": {"body": f"{harmful}&{theirs}"}}
    for what, body in bodies.items():
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY"):
            for path in (f"{query}?{harmless}", query, f"{values}?{own}", values, f"/api/v1/series?{own}",
                         "/api/v1/series", f"/api/v1/labels?{own}", "/api/v1/query_range", "/api/v1/query_exemplars"):
                yield Request(f"{method} {path} with {what}", raw(method, path, **body), False)
    yield Request("GET values with a multipart body", raw("GET", f"{values}?{own}", **bodies["multipart"]), True)
    twice = [f"{query}?{harmless}&{harmful}", f"{query}?{harmful}&{harmless}", f"{query}?namespace={other}&{harmful}",
             f"{query}?{harmful}&namespace={other}", f"{query}?{harmful}&namespace=", f"{query}?{harmless};{harmful}",
             f"{query}?time={at}&%71uery={quoted}", f"{query}?time={at}&query[]={quoted}",
             f"{query}?{harmful}#fragment", f"{query}?{harmful}%00", f"{query}??{harmful}", f"{query}?&&{harmful}",
             f"{values}?match[]=&{theirs}", f"{values}?{theirs}&match=up", f"{values}?match%5b%5d={quoted}",
             f"{values}?{own}&{theirs}&{own}", f"{values}?namespace={other}", f"/api/v1/series?{own}&{theirs}"]
    for target in twice:
        yield Request(f"GET {target}", raw("GET", target), False)
        yield Request(f"POST {target}", raw("POST", target, harmful, Content_Type=FORM), False)
    said = {"namespace": other, "X-Namespace": other, "X-Scope-OrgID": other, "X-HTTP-Method-Override": "POST",
            "X-Original-URL": "/api/v1/targets", "X-Forwarded-Host": "127.0.0.1", "Host": other, "Upgrade": "h2c",
            "Connection": "upgrade", "Content-Encoding": "gzip", "Expect": "100-continue", "Range": "bytes=0-"}
    for name, value in said.items():
        header = {name.replace("-", "_"): value}
        yield Request(f"{name}: {value}", raw("GET", f"{query}?{harmful}", **header), True)
        yield Request(f"{name}: {value}, values", raw("GET", values, **header), True)
    chunk = f"{len(harmful):x}\r\n{harmful}\r\n0\r\n\r\n"
    chunked = {"body": chunk, "Transfer_Encoding": "chunked", "Content_Type": FORM}
    yield Request("chunked", raw("POST", query, **chunked), True)
    yield Request("chunked GET", raw("GET", f"{query}?{harmless}", **chunked), False)
    yield Request("HTTP/1.0", raw("GET", f"{query}?{harmful}", version="1.0"), True)
    yield Request("absolute form", raw("GET", f"http://prometheus{query}?{harmful}"), True)
    smuggled = f"GET {query}?{harmful} HTTP/1.1\r\nHost: x\r\n\r\n"
    yield Request("length 0 and chunked", raw("POST", query, "0\r\n\r\n" + smuggled, Transfer_Encoding="chunked",
                                              Content_Length="0"), False)
    yield Request("odd chunked", raw("POST", query, "0\r\n\r\n" + smuggled, Transfer_Encoding="\tchunked"), False)


# What else Prometheus answers, whose answers know no tenant.
CLOSED = [
    "/api/v1/targets", "/api/v1/targets?state=active", "/api/v1/targets/metadata", "/api/v1/rules", "/api/v1/alerts",
    "/api/v1/alertmanagers", "/api/v1/metadata", "/api/v1/status/config", "/api/v1/status/flags",
    "/api/v1/status/tsdb", "/api/v1/status/runtimeinfo", "/api/v1/status/buildinfo", "/federate?match[]=up",
    "/metrics", "/debug/pprof/cmdline", "/version", "/-/healthy",
]
# Ways round the list of paths that are open.
DETOURS = [
    "/", "/graph", "/query", "/config", "/rules", "/targets", "/tsdb-status", "/api/v1/query/../targets",
    "/api/v1/query/%2e%2e/targets", "/api/v1/query/..%2ftargets", "/api/v1/query%2f..%2ftargets",
    "/api/v1/query/%252e%252e/targets", "/api/v1/label/..%2ftargets", "/api/v1/label/../targets", "/api/v1//targets",
    "//api/v1/targets", "/./api/v1/targets", "/api/v1/./targets", "/api/v1/targets/", "/api/v1/label/x/../../targets",
    "/api/v1/label/x/values/../../../targets", "/api/v1/label/..%2f..%2fv1%2ftargets%3f/values",
    "/api/v1/label/%2e%2e%2ftargets/values", "/api/v1/query;/../targets", "/api/v1/query%00/../targets",
    "/api/v1/query%3f/../targets", "/api/v1/query\\..\\targets", "/API/V1/targets", "/api/v1/target%73",
    "/api/v1/rules/", "/api/v1/rules%2f", "/api/v1/alerts/", "/api/v1/query/../../../metrics",
    "/api/v1/series/../rules", "/api/v1/label/a%0d%0aX:%20y/values", "http://127.0.0.1/api/v1/targets",
    "/api/v1/query/", "/api/v1/labels/", "/api/v1/label//values", "/api/v1/label/a/values/", "*",
    "/healthz/../api/v1/targets",
]
CHANGES = [
    "/api/v1/admin/tsdb/delete_series?match[]=up", "/api/v1/admin/tsdb/snapshot", "/api/v1/write", "/api/v1/read",
    "/-/reload", "/-/quit",
]
