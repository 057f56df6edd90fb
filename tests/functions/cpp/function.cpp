// The test function in C++ (cpp-httplib). Contract: ../CONTRACT.md.

#include <cstring>
#include <ctime>
#include <fcntl.h>
#include <future>
#include <httplib.h>
#include <iostream>
#include <sstream>
#include <thread>
#include <unistd.h>

using httplib::Request;
using httplib::Response;

namespace {

const std::string buffer(65536, 'x');
thread_local long long started_ns;

long long clock_ns(clockid_t clock) {
    timespec now{};
    clock_gettime(clock, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

std::string variable(const char *name, const char *otherwise) {
    const char *value = getenv(name);
    return value ? value : otherwise;
}

long long number(const Request &request, const char *name) {
    return request.has_param(name) ? std::stoll(request.get_param_value(name)) : 0;
}

void sleep_ms(long long ms) { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); }

std::vector<std::string> split(const std::string &text, char separator) {
    std::vector<std::string> parts;
    std::istringstream from(text);
    for (std::string part; std::getline(from, part, separator);) parts.push_back(part);
    return parts;
}

void text(Response &response, int status, const std::string &body) {
    response.status = status;
    response.set_content(body, "text/plain");
}

void delay(const Request &request, Response &response) {
    sleep_ms(number(request, "ms"));
    text(response, 200, "delayed " + std::to_string(number(request, "ms")) + "\n");
}

void stream(const Request &request, Response &response) {
    bool sse = number(request, "sse");
    long long pieces = number(request, "n"), ms = number(request, "ms");
    auto next = std::make_shared<long long>(1);
    auto provider = [=](size_t, httplib::DataSink &sink) {
        if (*next > pieces) return sink.done(), true;
        if (*next > 1) sleep_ms(ms);
        std::string piece = "piece " + std::to_string((*next)++);
        piece = sse ? "data: " + piece + "\n\n" : piece + "\n";
        return sink.write(piece.data(), piece.size());
    };
    const char *kind = sse ? "text/event-stream" : "text/plain";
    if (request.version == "HTTP/1.0") {
        response.set_header("Connection", "close");
        response.set_content_provider(kind, provider);
    } else {
        response.set_chunked_content_provider(kind, provider);
    }
}

void big(const Request &request, Response &response) {
    size_t bytes = number(request, "bytes");
    if (bytes == 0) return text(response, 200, "");
    response.set_content_provider(bytes, "text/plain", [](size_t, size_t left, httplib::DataSink &sink) {
        return sink.write(buffer.data(), std::min(left, buffer.size()));
    });
}

void upload(const Request &request, Response &response, const httplib::ContentReader &content) {
    size_t bytes = 0;
    content([&](const char *, size_t length) { return bytes += length, true; });
    sleep_ms(number(request, "delay"));
    text(response, 200, "bytes=" + std::to_string(bytes) + "\n");
}

void error(const Request &request, Response &response) {
    int status = number(request, "status");
    if (status == 204 || status == 304) response.status = status;
    else text(response, status, "status " + std::to_string(status) + "\n");
}

// A provider that fails: the server closes the connection.
void abort_answer(const Request &, Response &response) {
    response.set_content_provider(1000, "text/plain", [](size_t offset, size_t, httplib::DataSink &sink) {
        return offset == 0 && sink.write(buffer.data(), 100);
    });
}

// This thread's client to there; it keeps its connection.
httplib::Client &client(const std::string &base) {
    thread_local std::map<std::string, std::unique_ptr<httplib::Client>> clients;
    auto &client = clients[base];
    if (!client) {
        client = std::make_unique<httplib::Client>(base);
        client->set_keep_alive(true);
        client->set_tcp_nodelay(true);
    }
    return *client;
}

// The parameter `path`. The server's own reading of it ends wrong where it holds a `=`.
std::string next_path(const Request &request) {
    auto from = request.target.find("path=");
    if (from == std::string::npos) return "";
    from += strlen("path=");
    return httplib::detail::decode_url(request.target.substr(from, request.target.find('&', from) - from), true);
}

void chain(const Request &request, Response &response) {
    auto answer = client(variable("NEXT", "")).Get(next_path(request));
    if (answer) text(response, answer->status, answer->body);
    else text(response, 502, httplib::to_string(answer.error()) + "\n");
}

void fan(const Request &request, Response &response) {
    std::vector<std::future<int>> calls;
    for (long long i = 0; i < number(request, "n"); i++)
        calls.push_back(std::async(std::launch::async, [&] {
            auto answer = client(variable("NEXT", "")).Get(next_path(request));
            return answer ? answer->status : 502;
        }));
    std::string line = "fan ";
    for (size_t i = 0; i < calls.size(); i++) line += (i ? "," : "") + std::to_string(calls[i].get());
    text(response, 200, line + "\n");
}

bool visit(const std::string &plan, const std::string &index) {
    auto node = split(split(plan, '|').at(std::stoi(index)), ';');
    auto answer = client("http://127.0.0.1:" + node.at(0)).Get(node.at(1), {{"X-Plan", plan}, {"X-Node", index}});
    return answer && answer->status == 200;
}

// Follows a plan's node.
void hop(const Request &request, Response &response) {
    std::string plan = request.get_header_value("X-Plan");
    auto node = split(split(plan, '|').at(std::stoi(request.get_header_value("X-Node"))), ';');
    sleep_ms(std::stoll(node.at(2)));
    bool whole = true;
    std::vector<std::future<bool>> calls;
    for (const auto &child : split(node.size() > 5 ? node[5] : "", ','))
        if (node.at(4) == "p") calls.push_back(std::async(std::launch::async, visit, plan, child));
        else whole = whole && visit(plan, child);
    for (auto &call : calls) whole = call.get() && whole;
    sleep_ms(std::stoll(node.at(3)));
    text(response, whole ? 200 : 502, whole ? "ok\n" : "a child failed\n");
}

void burn(const Request &request, Response &response) {
    long long began = clock_ns(CLOCK_THREAD_CPUTIME_ID), burned = 0;
    while (burned < number(request, "ms") * 1000000) burned = clock_ns(CLOCK_THREAD_CPUTIME_ID) - began;
    text(response, 200, "cpu_ns=" + std::to_string(burned) + "\n");
}

void echo_headers(const Request &request, Response &response) {
    std::string lines;
    for (const auto &[name, value] : request.headers) lines += name + ": " + value + "\n";
    text(response, 200, lines);
}

void record(int truth, const Request &request) {
    std::string line = "{\"path\":\"" + request.target + "\",\"pid\":" + std::to_string(getpid()) +
                       ",\"started_ns\":" + std::to_string(started_ns) +
                       ",\"ended_ns\":" + std::to_string(clock_ns(CLOCK_MONOTONIC)) + "}\n";
    if (write(truth, line.data(), line.size()) < 0) perror("TRUTH");
}

}  // namespace

int main() {
    httplib::Server server;
    // A kept connection holds its thread.
    server.new_task_queue = [] { return new httplib::ThreadPool(256); };
    server.set_keep_alive_max_count(SIZE_MAX);
    server.set_tcp_nodelay(true);
    const std::string any = "(?:/t/[^/]*)?";
    server.Get(any + "/hello", [](const Request &, Response &response) { text(response, 200, "hello from cpp\n"); });
    server.Get(any + "/delay", delay).Get(any + "/stream", stream).Get(any + "/big", big);
    server.Get(any + "/error", error).Get(any + "/abort", abort_answer).Get(any + "/burn", burn);
    server.Get(any + "/chain", chain).Get(any + "/fan", fan).Get("/hop/.*", hop);
    server.Get(any + "/echo-headers", echo_headers).Post(any + "/upload", upload);
    server.set_pre_routing_handler([](const Request &, Response &) {
        started_ns = clock_ns(CLOCK_MONOTONIC);
        return httplib::Server::HandlerResponse::Unhandled;
    });
    if (const char *path = getenv("TRUTH")) {
        int truth = open(path, O_CREAT | O_APPEND | O_WRONLY | O_CLOEXEC, 0644);
        server.set_logger([truth](const Request &request, const Response &) { record(truth, request); });
    }
    socket_t listener = INVALID_SOCKET;
    server.set_socket_options([&](socket_t socket) {
        httplib::default_socket_options(socket);
        listener = socket;
    });
    std::string host = variable("HOST", "127.0.0.1");
    int port = std::stoi(variable("PORT", "0"));
    if (port == 0) port = server.bind_to_any_port(host);
    else if (!server.bind_to_port(host, port)) port = -1;
    if (port < 0) return perror("bind"), 1;
    // The library lets five connections wait; more at once would be put off by seconds.
    if (listen(listener, 1024) < 0) return perror("listen"), 1;
    std::cout << "listening " << port << std::endl;
    return server.listen_after_bind() ? 0 : 1;
}
