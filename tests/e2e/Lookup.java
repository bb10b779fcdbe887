import java.net.InetAddress;
import java.net.UnknownHostException;

/** Lookup NAME...: one line for each: NAME MILLISECONDS ADDRESSES|ERROR. */
class Lookup {
    public static void main(String[] names) {
        for (String name : names) {
            long begin = System.nanoTime();
            StringBuilder found = new StringBuilder();
            try {
                for (InetAddress one : InetAddress.getAllByName(name)) {
                    found.append(' ').append(one.getHostAddress().replaceFirst(":0:[0:]*:", "::"));
                }
            } catch (UnknownHostException error) {
                found.append(" error ").append(error.getMessage());
            }
            System.out.printf("%s %.1f%s%n", name, (System.nanoTime() - begin) / 1e6, found);
        }
    }
}
