package clients;

import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.util.ArrayList;
import java.util.List;

/**
 * A TCP relay on loopback between one client and the server: it stands for the network that breaks. While refusing, a new
 * connection is closed at once and the present ones go on; a cut closes those too.
 */
public final class Relay implements AutoCloseable {
    private final String[] targets;
    private final ServerSocket listener;
    private final List<Socket> sockets = new ArrayList<>();
    private boolean refusing;
    private int next;

    /** Listen on a free port; connections go to the targets in turn. */
    Relay(String hosts) throws IOException {
        targets = hosts.split(",");
        listener = new ServerSocket(0, 50, InetAddress.getLoopbackAddress());
        daemon("relay-accept", this::acceptLoop);
    }

    /** Where clients connect to. */
    public String address() {
        return "127.0.0.1:" + listener.getLocalPort();
    }

    /** Refuse new connections, keep the present ones. */
    public synchronized void refuse() {
        refusing = true;
    }

    /** Close all connections and refuse new ones. */
    public synchronized void cut() {
        refusing = true;
        closeSockets();
    }

    /** Accept again. */
    public synchronized void restore() {
        refusing = false;
    }

    private synchronized void closeSockets() {
        sockets.forEach(Relay::closeQuietly);
        sockets.clear();
    }

    private void acceptLoop() {
        while (!listener.isClosed()) {
            try {
                attach(listener.accept());
            } catch (IOException failed) {
                // the listener was closed, or the server refused: the client's socket is closed and it tries again
            }
        }
    }

    private synchronized void attach(Socket client) throws IOException {
        if (refusing) {
            client.close();
            return;
        }
        String target = targets[next++ % targets.length];
        int colon = target.lastIndexOf(':');
        try {
            Socket server = new Socket(target.substring(0, colon), Integer.parseInt(target.substring(colon + 1)));
            client.setTcpNoDelay(true);
            server.setTcpNoDelay(true);
            sockets.add(client);
            sockets.add(server);
            daemon("relay-up", () -> pump(client, server));
            daemon("relay-down", () -> pump(server, client));
        } catch (IOException refused) {
            client.close();
            throw refused;
        }
    }

    private static void pump(Socket from, Socket to) {
        try (InputStream in = from.getInputStream(); OutputStream out = to.getOutputStream()) {
            in.transferTo(out);
        } catch (IOException broken) {
            // either side went away: both are closed below
        }
        closeQuietly(from);
        closeQuietly(to);
    }

    private static void closeQuietly(Socket socket) {
        try {
            socket.close();
        } catch (IOException ignored) {
            // it is gone, which is what was wanted
        }
    }

    private static void daemon(String name, Runnable work) {
        Thread thread = new Thread(work, name);
        thread.setDaemon(true);
        thread.start();
    }

    @Override
    public void close() throws IOException {
        listener.close();
        closeSockets();
    }
}
