import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CountDownLatch;
import org.elasticsearch.common.logging.LogConfigurator;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.env.Environment;
import org.elasticsearch.node.Node;
import org.elasticsearch.plugins.PluginsLoader;

/**
 * Starts one Elasticsearch node in the current folder: Launcher MODULES NAME=VALUE...
 * MODULES is the folder of the modules, NAME=VALUE are settings. The node lives
 * until the process is killed; what it wrote to its translog is there again.
 */
public class Launcher {
    public static void main(String[] args) throws Exception {
        Path home = Path.of("").toAbsolutePath();
        for (String folder : new String[] {"config", "data", "logs", "plugins", "lib"}) {
            Files.createDirectories(home.resolve(folder));
        }
        Path modules = home.resolve("modules");
        if (!Files.exists(modules)) {
            Files.createSymbolicLink(modules, Path.of(args[0]));
        }
        System.setProperty("es.path.home", home.toString());
        Settings.Builder settings = Settings.builder().put("path.home", home.toString());
        for (int i = 1; i < args.length; i++) {
            String[] setting = args[i].split("=", 2);
            settings.put(setting[0], setting[1]);
        }
        LogConfigurator.configureWithoutConfig(settings.build());
        Environment environment = new Environment(settings.build(), home.resolve("config"));
        PluginsLoader loader = PluginsLoader.createPluginsLoader(
            PluginsLoader.loadModulesBundles(environment.modulesDir()), Set.of(), Map.of(), false);
        Node node = new Node(environment, loader).start();
        new CountDownLatch(1).await(); // its threads alone keep no process alive
        node.close();
    }
}
