// Forms of messages between servers that no ensemble of today sends unasked: prints proto/vectors/quorum-forms-3.9.5.txt.
//
//   java -cp "$HOME/.cache/ringkeeper/zookeeper-3.9.5/*" tests/reference/QuorumForms.java > proto/vectors/quorum-forms-3.9.5.txt
//
// The old notifications are what FastLeaderElection's own receiver makes of them; the first 28 or 40 bytes are those of its own buildMsg. The packets of
// SASL between servers are QuorumAuth's own. The format is that of proto/vectors/README.md.

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.File;
import java.io.PrintStream;
import java.lang.reflect.Constructor;
import java.lang.reflect.Field;
import java.lang.reflect.Method;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.TimeUnit;
import org.apache.jute.BinaryInputArchive;
import org.apache.jute.BinaryOutputArchive;
import org.apache.zookeeper.server.quorum.FastLeaderElection;
import org.apache.zookeeper.server.quorum.QuorumAuthPacket;
import org.apache.zookeeper.server.quorum.QuorumCnxManager;
import org.apache.zookeeper.server.quorum.QuorumPeer;
import org.apache.zookeeper.server.quorum.QuorumPeer.QuorumServer;
import org.apache.zookeeper.server.quorum.auth.QuorumAuth;
import org.apache.zookeeper.server.quorum.auth.QuorumAuth.Status;

public class QuorumForms {
    static final long SENDER = 2;

    /** state, leader, zxid, election epoch, peer epoch. */
    static final long[][] VOTES = {
        {0, 2, 0x5_0000_0009L, 1, 5},
        {1, 3, 0x7fff_ffff_0000_0000L, 0x1_0000_0000L, 0x7fff_ffff},
        {2, 2, 0, 0, 0},
        {3, 1, -1, Long.MAX_VALUE, -1},
        {0, Long.MIN_VALUE, Long.MIN_VALUE, 1, Long.MIN_VALUE},
        {0, 1, 0x6_0000_0001L, 2, 5},
    };

    /** A server that looks, and takes what is said to it. */
    static class Receiver {
        final QuorumCnxManager connections;
        final FastLeaderElection election;
        final BlockingQueue<?> read;

        Receiver() throws Exception {
            File dir = Files.createTempDirectory("rk-forms-").toFile();
            Map<Long, QuorumServer> servers = new HashMap<>();
            servers.put(1L, new QuorumServer(1L, "127.0.0.1:1:2"));
            servers.put(SENDER, new QuorumServer(SENDER, "127.0.0.1:3:4"));
            QuorumPeer peer = new QuorumPeer(servers, dir, dir, 0, 3, 1, 2000, 10, 5, 5);
            connections = peer.createCnxnManager();
            election = new FastLeaderElection(peer, connections);
            Field queue = FastLeaderElection.class.getDeclaredField("recvqueue");
            queue.setAccessible(true);
            read = (BlockingQueue<?>) queue.get(election);
            election.start();
            deleteAtExit(dir);
        }

        /** Its fields as JSON. */
        String read(byte[] message) throws Exception {
            Constructor<?> whole = Class.forName("org.apache.zookeeper.server.quorum.QuorumCnxManager$Message").getDeclaredConstructors()[0];
            whole.setAccessible(true);
            ((BlockingQueue<Object>) (BlockingQueue<?>) connections.recvQueue).offer(whole.newInstance(ByteBuffer.wrap(message), SENDER));
            Object seen = read.poll(10, TimeUnit.SECONDS);
            return "{\"state\": \"" + field(seen, "state") + "\", \"leader\": " + field(seen, "leader") + ", \"zxid\": " + field(seen, "zxid")
                + ", \"electionEpoch\": " + field(seen, "electionEpoch") + ", \"peerEpoch\": " + field(seen, "peerEpoch") + "}";
        }
    }

    static void deleteAtExit(File dir) {
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            for (File file : dir.listFiles()) {
                Arrays.stream(file.listFiles() == null ? new File[0] : file.listFiles()).forEach(File::delete);
                file.delete();
            }
            dir.delete();
        }));
    }

    static Object field(Object of, String name) throws Exception {
        Field field = of.getClass().getDeclaredField(name);
        field.setAccessible(true);
        return field.get(of);
    }

    static void notifications(PrintStream out) throws Exception {
        Receiver receiver = new Receiver();
        Method buildMsg = FastLeaderElection.class.getDeclaredMethod("buildMsg", int.class, long.class, long.class, long.class, long.class);
        buildMsg.setAccessible(true);
        for (int length : new int[] {28, 40, 41}) {
            int number = 0;
            for (long[] vote : VOTES) {
                ByteBuffer built = (ByteBuffer) buildMsg.invoke(null, (int) vote[0], vote[1], vote[2], vote[3], vote[4]);
                byte[] message = Arrays.copyOf(built.array(), length);
                out.println("# = " + receiver.read(message));
                out.println("notification bytes_" + length + "." + ++number + " 0 " + HexFormat.of().formatHex(message));
                out.println();
            }
        }
    }

    static void auth(PrintStream out, String name, Status status, byte[] token) throws Exception {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        BinaryOutputArchive.getArchive(bytes).writeRecord(QuorumAuth.createPacket(status, token), "qpconnect");
        QuorumAuthPacket read = new QuorumAuthPacket();
        DataInputStream from = new DataInputStream(new ByteArrayInputStream(bytes.toByteArray()));
        if (!QuorumAuth.nextPacketIsAuth(from)) {
            throw new IllegalStateException(name);
        }
        read.deserialize(BinaryInputArchive.getArchive(from), "qpconnect");
        String shown = read.getToken() == null ? "null" : "\"" + HexFormat.of().formatHex(read.getToken()) + "\"";
        out.println("# = {\"status\": " + read.getStatus() + ", \"token_hex\": " + shown + "}");
        out.println("auth_packet " + name + " 0 " + HexFormat.of().formatHex(bytes.toByteArray()));
        out.println();
    }

    public static void main(String[] arguments) throws Exception {
        System.setProperty("org.apache.logging.log4j.level", "OFF");
        PrintStream out = System.out;
        out.println("# Forms of messages between servers that an ensemble of 3.9.5 does not send unasked; # = is what its own classes read.");
        out.println("# Printed by tests/reference/QuorumForms.java with the classes of Apache ZooKeeper 3.9.5. Format: README.md. Do not edit.");
        out.println();
        notifications(out);
        auth(out, "first", Status.IN_PROGRESS, new byte[0]);
        auth(out, "challenge", Status.IN_PROGRESS, "nonce=\"a\"".getBytes());
        auth(out, "challenge_null", Status.IN_PROGRESS, null);
        auth(out, "success", Status.SUCCESS, "rspauth=00".getBytes());
        auth(out, "success_null", Status.SUCCESS, null);
        auth(out, "error", Status.ERROR, new byte[0]);
        out.flush();
        System.exit(0); // The receiver's threads.
    }
}
