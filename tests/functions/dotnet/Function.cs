// The test function in C# (HttpListener, tasks). Contract: ../CONTRACT.md. In the C# that mono's compiler knows.

using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.IO;
using System.Linq;
using System.Net;
using System.Net.Http;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using System.Text;
using System.Threading;
using System.Threading.Tasks;

static class Function
{
    static readonly string Next = Environment.GetEnvironmentVariable("NEXT");
    static readonly byte[] Filler = Enumerable.Repeat((byte)'x', 65536).ToArray();
    static readonly HttpClient Client = new HttpClient();
    static readonly int Pid = Process.GetCurrentProcess().Id;
    static FileStream truth;

    static void Main()
    {
        Listen().GetAwaiter().GetResult();
    }

    static async Task Listen()
    {
        var path = Environment.GetEnvironmentVariable("TRUTH");
        if (path != null) truth = new FileStream(path, FileMode.Append, FileAccess.Write, FileShare.ReadWrite, 1);
        var port = int.Parse(Environment.GetEnvironmentVariable("PORT") ?? "0");
        if (port == 0) port = FreePort();
        var listener = new HttpListener();
        listener.Prefixes.Add($"http://127.0.0.1:{port}/");
        listener.Start();
        Console.WriteLine($"listening {port}");
        while (true)
        {
            var context = await listener.GetContextAsync();
            _ = Task.Run(() => Serve(context));
        }
    }

    // HttpListener takes no port 0.
    static int FreePort()
    {
        var probe = new TcpListener(IPAddress.Loopback, 0);
        probe.Start();
        var port = ((IPEndPoint)probe.LocalEndpoint).Port;
        probe.Stop();
        return port;
    }

    static async Task Serve(HttpListenerContext context)
    {
        var started = Now();
        context.Response.ContentType = "text/plain";
        try
        {
            await Answer(context);
        }
        catch (Exception failure) when (failure is HttpListenerException || failure is IOException)
        {
            // A client that goes away is no news.
            context.Response.Abort();
        }
        Record(context.Request, started);
    }

    static async Task Answer(HttpListenerContext context)
    {
        var query = context.Request.QueryString;
        Func<string, int> number = name => int.Parse(query[name] ?? "0");
        switch (Route(context.Request.Url.AbsolutePath))
        {
            case "/hello": await Text(context, 200, "hello from dotnet\n"); break;
            case "/delay":
                await Task.Delay(number("ms"));
                await Text(context, 200, $"delayed {number("ms")}\n");
                break;
            case "/stream": await Stream(context, number("n"), number("ms"), number("sse") != 0); break;
            case "/big": await Big(context, number("bytes")); break;
            case "/upload":
                var bytes = await Discard(context.Request.InputStream);
                await Task.Delay(number("delay"));
                await Text(context, 200, $"bytes={bytes}\n");
                break;
            case "/error":
                var status = number("status");
                await Text(context, status, status == 204 || status == 304 ? "" : $"status {status}\n");
                break;
            case "/abort": await Abort(context.Response); break;
            case "/chain": await Chain(context, query["path"]); break;
            case "/fan":
                var calls = Enumerable.Range(0, number("n")).Select(_ => Status(Get(Next + query["path"])));
                await Text(context, 200, $"fan {string.Join(",", await Task.WhenAll(calls))}\n");
                break;
            case "/hop": await Hop(context); break;
            case "/burn": await Text(context, 200, $"cpu_ns={Burn(number("ms"))}\n"); break;
            case "/echo-headers":
                var headers = context.Request.Headers;
                await Text(context, 200, string.Concat(headers.AllKeys.Select(name => $"{name}: {headers[name]}\n")));
                break;
            default: await Text(context, 404, "not found\n"); break;
        }
    }

    // Cuts off /t/<anything>, and what follows /hop.
    static string Route(string path)
    {
        var parts = path.Split('/');
        if (parts[1] == "hop") return "/hop";
        return parts[1] == "t" && parts.Length > 3 ? "/" + string.Join("/", parts.Skip(3)) : path;
    }

    static async Task Text(HttpListenerContext context, int status, string text)
    {
        await Bytes(context, status, Encoding.UTF8.GetBytes(text));
    }

    static async Task Bytes(HttpListenerContext context, int status, byte[] body)
    {
        context.Response.StatusCode = status;
        context.Response.ContentLength64 = body.Length;
        if (body.Length > 0 && context.Request.HttpMethod != "HEAD") await context.Response.OutputStream.WriteAsync(body, 0, body.Length);
        context.Response.Close();
    }

    static async Task Stream(HttpListenerContext context, int n, int ms, bool sse)
    {
        if (sse) context.Response.ContentType = "text/event-stream";
        context.Response.SendChunked = context.Request.ProtocolVersion >= HttpVersion.Version11;
        for (var i = 1; i <= n; i++)
        {
            if (i > 1) await Task.Delay(ms);
            var piece = Encoding.UTF8.GetBytes(sse ? $"data: piece {i}\n\n" : $"piece {i}\n");
            await context.Response.OutputStream.WriteAsync(piece, 0, piece.Length);
        }
        context.Response.Close();
    }

    static async Task Big(HttpListenerContext context, int bytes)
    {
        context.Response.ContentLength64 = bytes;
        for (var left = bytes; left > 0; left -= Filler.Length)
        {
            await context.Response.OutputStream.WriteAsync(Filler, 0, Math.Min(left, Filler.Length));
        }
        context.Response.Close();
    }

    static async Task<long> Discard(Stream body)
    {
        var piece = new byte[65536];
        long total = 0;
        int read;
        while ((read = await body.ReadAsync(piece, 0, piece.Length)) > 0) total += read;
        return total;
    }

    static async Task Abort(HttpListenerResponse response)
    {
        response.ContentLength64 = 1000;
        await response.OutputStream.WriteAsync(Filler, 0, 100);
        response.Abort();
    }

    static HttpRequestMessage Get(string url) => new HttpRequestMessage(HttpMethod.Get, url);

    static async Task Chain(HttpListenerContext context, string path)
    {
        int status;
        byte[] body;
        try
        {
            var answer = await Client.SendAsync(Get(Next + path));
            status = (int)answer.StatusCode;
            body = await answer.Content.ReadAsByteArrayAsync();
        }
        catch (HttpRequestException failure)
        {
            status = 502;
            body = Encoding.UTF8.GetBytes(failure.Message + "\n");
        }
        await Bytes(context, status, body);
    }

    static async Task<int> Status(HttpRequestMessage request)
    {
        try
        {
            return (int)(await Client.SendAsync(request)).StatusCode;
        }
        catch (HttpRequestException)
        {
            return 502;
        }
    }

    // Follows a plan's node.
    static async Task Hop(HttpListenerContext context)
    {
        var plan = context.Request.Headers["X-Plan"];
        var nodes = plan.Split('|').Select(text => text.Split(';')).ToArray();
        var node = nodes[int.Parse(context.Request.Headers["X-Node"])];
        await Task.Delay(int.Parse(node[2]));
        var statuses = new List<int>();
        var children = node[5].Split(',').Where(child => child != "").Select(child => Visit(nodes[int.Parse(child)], plan, child));
        if (node[4] == "p") statuses.AddRange(await Task.WhenAll(children.Select(Status)));
        else foreach (var child in children) statuses.Add(await Status(child));
        await Task.Delay(int.Parse(node[3]));
        var whole = statuses.All(status => status == 200);
        await Text(context, whole ? 200 : 502, whole ? "ok\n" : "a child failed\n");
    }

    static HttpRequestMessage Visit(string[] node, string plan, string index)
    {
        var request = Get($"http://127.0.0.1:{node[0]}{node[1]}");
        request.Headers.Add("X-Plan", plan);
        request.Headers.Add("X-Node", index);
        return request;
    }

    [StructLayout(LayoutKind.Sequential)]
    struct Timespec
    {
        public long Seconds, Nanoseconds;
    }

    [DllImport("libc")]
    static extern int clock_gettime(int clock, out Timespec time);

    static long ThreadCpuTime()
    {
        const int clockThreadCpuTime = 3;
        Timespec time;
        clock_gettime(clockThreadCpuTime, out time);
        return time.Seconds * 1000000000 + time.Nanoseconds;
    }

    static long Burn(int ms)
    {
        var began = ThreadCpuTime();
        while (ThreadCpuTime() - began < ms * 1000000L) { }
        return ThreadCpuTime() - began;
    }

    // CLOCK_MONOTONIC, in nanoseconds.
    static long Now() => (long)(Stopwatch.GetTimestamp() * (1e9 / Stopwatch.Frequency));

    static void Record(HttpListenerRequest request, long started)
    {
        if (truth == null) return;
        var line = $"{{\"path\":\"{request.RawUrl}\",\"pid\":{Pid},\"started_ns\":{started},\"ended_ns\":{Now()}}}\n";
        var bytes = Encoding.UTF8.GetBytes(line);
        lock (truth) truth.Write(bytes, 0, bytes.Length);
    }
}
